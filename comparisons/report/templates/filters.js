// Forms that choose among the items ([data-item]) of the element that their data-of names: by words, by equal values
// ([data-equal]), by numbers from ([data-from]) and to ([data-to]); and that put them in order ([data-order]). Without
// this script the forms stay hidden and all items are shown.
(() => {
  for (const form of document.querySelectorAll("form.filters")) {
    const list = document.getElementById(form.dataset.of);
    const items = Array.from(list.querySelectorAll("[data-item]"));
    const count = form.querySelector("output");
    const order = form.querySelector("[data-order]");
    const words = new Map();
    const said = (item) => {
      if (!words.has(item)) words.set(item, (item.dataset.words ?? item.textContent).toLowerCase());
      return words.get(item);
    };
    const bound = (input, item, key) => {
      if (input.value === "") return true;  // so is what is no number
      const value = item.dataset[key];
      return value !== undefined && value !== "" &&
        (input.dataset.from ? Number(value) >= input.valueAsNumber : Number(value) <= input.valueAsNumber);
    };
    const kept = (item, input) => {
      if (input.type === "search") return input.value.toLowerCase().split(/\s+/).every((word) => said(item).includes(word));
      if (input.dataset.equal) return !input.value || item.dataset[input.dataset.equal] === input.value;
      if (input.dataset.from || input.dataset.to) return bound(input, item, input.dataset.from || input.dataset.to);
      return true;
    };
    const filter = () => {
      const inputs = Array.from(form.querySelectorAll("select, input"));
      let shown = 0;
      for (const item of items) {
        item.hidden = !inputs.every((input) => kept(item, input));
        shown += !item.hidden;
      }
      const all = `${items.length} ${form.dataset.named}`;
      count.textContent = shown === items.length ? all : `${shown} of ${all}`;
    };
    const arrange = () => {
      const [key, down] = order.value.split(" ");
      const place = (item) => (item.dataset[key] === "" ? Infinity : Number(item.dataset[key]) * (down ? -1 : 1));
      const sorted = key ? items.map((item) => [place(item), item]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0))
        : items.map((item) => [0, item]);
      items[0].parentElement.append(...sorted.map(([, item]) => item));
    };
    form.addEventListener("input", filter);
    form.addEventListener("change", filter);
    if (order) order.addEventListener("change", arrange);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => { filter(); if (order) arrange(); }));
    form.hidden = false;
    filter();
  }
})();
