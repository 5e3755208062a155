// Values of drawings: told where a mark is pointed at, and by arrow keys where a panel has the focus. Legends switch
// series on and off. A drawing without this script has its values as titles.
(() => {
  const panels = Array.from(document.querySelectorAll(".panel")).filter((panel) => panel.querySelector(".value"));
  if (!panels.length) return;
  const NEAR = 24;
  const box = document.createElement("div");
  box.className = "told";
  box.setAttribute("role", "status");
  document.body.append(box);
  let on = null;
  let keyed = false;

  const hide = () => {
    if (on) on.classList.remove("on");
    on = null;
    box.classList.remove("shown");
  };
  const place = (mark) => (mark.querySelector("use") || mark.querySelector("path")).getBoundingClientRect();
  const locate = () => {
    const where = place(on);
    const own = box.getBoundingClientRect();
    const x = where.left + where.width / 2 - own.width / 2;
    const above = where.top - own.height - 8;
    box.style.left = `${Math.max(4, Math.min(x, document.documentElement.clientWidth - own.width - 4))}px`;
    box.style.top = `${above < 4 ? where.bottom + 8 : above}px`;
  };
  const tell = (mark, byKey) => {
    keyed = byKey;
    if (mark === on) return;
    hide();
    on = mark;
    mark.classList.add("on");
    box.textContent = mark.dataset.told;
    box.classList.add("shown");
    if (byKey) mark.scrollIntoView({ block: "nearest", inline: "nearest" });
    locate();
  };
  // Titles would open beside the box; they are taken when a panel is first used, so that loading costs nothing.
  const marksOf = (panel) => {
    const marks = Array.from(panel.querySelectorAll(".value"));
    for (const title of panel.querySelectorAll(".value > title")) {
      title.parentNode.dataset.told = title.textContent;
      title.remove();
    }
    return marks.filter((mark) => mark.style.display !== "none");
  };

  for (const panel of panels) {
    const step = (event) => {
      const marks = marksOf(panel);
      if (!marks.length) return;
      const now = on && marks.includes(on) ? marks.indexOf(on) : -1;
      const other = (sign) => {  // the mark of another series that is nearest along the horizontal axis
        const rest = marks.filter((mark) => mark.dataset.series !== marks[now].dataset.series);
        if (!rest.length) return now + sign;
        const names = Array.from(new Set(marks.map((mark) => mark.dataset.series)));
        const next = names[(names.indexOf(marks[now].dataset.series) + sign + names.length) % names.length];
        const x = place(marks[now]).left;
        const far = (mark) => Math.abs(place(mark).left - x);
        return marks.indexOf(rest.filter((mark) => mark.dataset.series === next).reduce((a, b) => (far(b) < far(a) ? b : a)));
      };
      const to = {
        ArrowRight: () => now + 1, ArrowLeft: () => (now < 0 ? marks.length : now) - 1, Home: () => 0, End: () => marks.length - 1,
        ArrowDown: () => (now < 0 ? 0 : other(1)), ArrowUp: () => (now < 0 ? 0 : other(-1)),
      }[event.key];
      if (event.key === "Escape") hide();
      if (!to) return;
      event.preventDefault();
      tell(marks[(to() + marks.length) % marks.length], true);
    };
    const point = (event) => {
      const marks = marksOf(panel);
      const under = event.target.closest(".value");
      if (under) { tell(under, false); return; }
      let best = null;
      let least = NEAR;
      for (const mark of marks) {
        const at = place(mark);
        const far = Math.hypot(at.left + at.width / 2 - event.clientX, at.top + at.height / 2 - event.clientY);
        if (at.width && far < least && mark.querySelector("use")) { best = mark; least = far; }
      }
      if (best) tell(best, false); else hide();
    };
    panel.tabIndex = 0;
    panel.setAttribute("aria-keyshortcuts", "ArrowRight ArrowLeft ArrowUp ArrowDown Home End");
    panel.addEventListener("keydown", step);
    panel.addEventListener("blur", hide);
    panel.addEventListener("pointermove", point);
    panel.addEventListener("pointerdown", point);
    panel.addEventListener("pointerleave", hide);
  }
  // What the pointer chose goes when the page moves under it; what keys chose goes along.
  window.addEventListener("scroll", () => { if (on && keyed) locate(); else hide(); }, { passive: true, capture: true });
  window.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // Legends: those of the page become buttons; a drawing with its own legend gets a line of them.
  const switches = (entry, name, scope) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(...entry.childNodes);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!shown));
      hide();
      for (const part of scope.querySelectorAll(".panel [data-series]")) {
        if (part.dataset.series === name) part.style.display = shown ? "none" : "";
      }
    });
    entry.append(button);
  };
  for (const entry of document.querySelectorAll(".legend [data-series]")) {
    switches(entry, entry.dataset.series, entry.closest(".gallery"));
  }
  for (const figure of new Set(panels.map((panel) => panel.closest("figure")))) {
    const names = Array.from(new Set(Array.from(figure.querySelectorAll(".panel [data-series]"), (one) => one.dataset.series)));
    if (names.length < 2 || figure.closest(".gallery")) continue;
    const list = document.createElement("ul");
    list.className = "legend switches";
    list.setAttribute("aria-label", "Shown");
    for (const name of names) {
      const entry = document.createElement("li");
      entry.append(name);
      switches(entry, name, figure);
      list.append(entry);
    }
    figure.prepend(list);
  }
})();
