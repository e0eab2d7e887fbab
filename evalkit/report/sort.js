// Sorts any table of the report by a column: a click, Enter or Space on its header. What is best
// comes first: numbers from the highest (from the lowest where the heading has an arrow down),
// names from A; then the other way round; then as written.
(() => {
  const MISSING = "\u2013";
  const LOWER = "\u2193";

  // The first number of a text such as "<0.0001", "1,234", "+0.01", "95 %" or "#3".
  const numberIn = text => {
    if (text.includes("\u221e")) return Infinity;
    const found = /[-+\u2212]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?/i.exec(text);
    return found ? Number(found[0].replace(/,/g, "").replace("\u2212", "-")) : null;
  };

  const key = (row, i, isNumber) => {
    const cell = row.cells[i];
    const text = (cell.querySelector("strong, u") ?? cell).firstChild?.textContent.trim() ?? "";
    return text === "" || text === MISSING ? null : isNumber ? numberIn(text) : text;
  };

  const compare = (a, b) => typeof a === "number"
    ? a - b || 0 : a.localeCompare(b, undefined, { numeric: true });

  const makeSortable = table => {
    const home = [...table.tBodies].flatMap(body => [...body.rows].map(row => ({ row, body })));
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, i) => {
      const isNumber = head.classList.contains("right");
      const fromHighest = isNumber && !head.textContent.endsWith(LOWER);
      const ways = fromHighest ? ["descending", "ascending"] : ["ascending", "descending"];
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = [...ways, null][ways.indexOf(head.getAttribute("aria-sort")) + 1];
        heads.forEach(other => other.removeAttribute("aria-sort"));
        if (next === null) {
          home.forEach(({ row, body }) => body.append(row));
          return;
        }
        head.setAttribute("aria-sort", next);
        const sign = next === "descending" ? -1 : 1;
        const keyed = home.map(({ row }) => ({ row, at: key(row, i, isNumber) }));
        // What is missing comes last either way.
        keyed.sort(({ at: x }, { at: y }) => x === null || y === null
          ? (x === null) - (y === null) : sign * compare(x, y));
        table.tBodies[0].append(...keyed.map(({ row }) => row));
      });
    });
  };

  document.querySelectorAll("table").forEach(makeSortable);
})();
