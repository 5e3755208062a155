"use strict";
(() => {
  const table = document.querySelector("table.sortable");
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  if (!table) return;
  const body = table.tBodies[0];
  const all = Array.from(body.rows);
  const texts = new Intl.Collator("en", { numeric: true });

  // Sorting: a column's numbers by their exact value, its texts naturally; rows without a value stay last.
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
  };
  const sort = (header, column) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    const numeric = header.classList.contains("n");
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (left, right) => {
      const a = value(left, column);
      const b = value(right, column);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numeric ? Number(a) - Number(b) : texts.compare(a, b);
      return down ? -order : order;
    };
    body.append(...Array.from(body.rows).sort(compare));
  };
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(header, column));
    header.replaceChildren(button);
  });

  // Filtering.
  const form = document.querySelector(".filters");
  const choices = Array.from(form.querySelectorAll("select"));
  const count = form.querySelector("output");
  const filter = () => {
    let shown = 0;
    for (const row of all) {
      row.hidden = choices.some((choice) => choice.value && row.dataset[choice.dataset.filter] !== choice.value);
      shown += !row.hidden;
    }
    count.textContent = shown === all.length ? `${all.length} results` : `${shown} of ${all.length} results`;
  };
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();
})();
