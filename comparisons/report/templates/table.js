"use strict";
// Tables that are sorted by their heads: numbers by their exact value, texts naturally; what has no value stays last.
(() => {
  const texts = new Intl.Collator("en", { numeric: true });
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
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
  }
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
