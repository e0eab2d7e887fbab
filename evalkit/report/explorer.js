// The table of all queries. Its numbers are in the page as JSON (see explorer_data.py); a page of
// rows is drawn at a time, and nothing is loaded from anywhere. Needs explorer_details.js before it.
(() => {
  const root = document.getElementById("explorer");
  if (!root) return;
  const ROWS = 50;
  const DIGITS = 4;
  const EQUAL = 1e-6;   // values are rounded to six digits
  const MISSING = "\u2013";
  const at = id => document.getElementById(`explorer-${id}`);
  const data = JSON.parse(at("data").textContent);
  const count = data.ids.length;
  const everyQuery = [...data.ids.keys()];
  const haystack = everyQuery.map(q =>
    [data.ids[q], data.texts[q], data.tags[q] ?? ""].join("\n").toLowerCase());
  const hasTexts = data.texts.some(Boolean);
  const state = {
    measure: 0, base: data.base, chosen: new Set([data.system]), found: everyQuery, page: 0,
    sort: null, open: new Set(),
  };

  // --- Small helpers
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const number = n => n.toLocaleString("en");
  const value = (system, query, measure = state.measure) => {
    const { distinct, cells } = data.values[measure];
    return distinct[cells[system][query]];
  };
  const difference = (system, query) => {
    const [a, b] = [value(system, query), value(state.base, query)];
    return a === null || b === null ? null : a - b;
  };
  const figure = x => x === null ? MISSING : x.toFixed(DIGITS);
  const signed = x => x === null ? MISSING : (x < -EQUAL ? "\u2212" : x > EQUAL ? "+" : "")
    + Math.abs(x).toFixed(DIGITS);
  const kind = (x, measure = state.measure) => {
    const better = data.measures[measure].lower ? -x : x;
    return x === null || Math.abs(better) < EQUAL ? "" : better > 0 ? "gain" : "loss";
  };
  const mean = (queries, of) => {
    const known = queries.map(of).filter(x => x !== null);
    return known.length ? known.reduce((sum, x) => sum + x, 0) / known.length : null;
  };
  // The baseline first, then the chosen ones in the report's order.
  const others = () => [...state.chosen].filter(s => s !== state.base).sort((a, b) => a - b);

  // --- Columns: {title, isNumber, key(query), cell(query), mean(queries)}
  const columns = () => {
    const words = (title, of, tag = "td") => ({
      title, key: q => of(q) || null,
      cell: q => make(tag, { className: "left words" }, make("span", { title: of(q) }, of(q))),
    });
    const numbers = (title, of, text, classOf) => ({
      title, isNumber: true, key: of,
      cell: q => make("td", { className: `right ${classOf(of(q))}` }, text(of(q))),
      mean: queries => make("td", { className: "right" }, text(mean(queries, of))),
    });
    const plain = s => numbers(data.systems[s], q => value(s, q), figure, () => "");
    const list = [{ title: "Query", key: q => data.ids[q], cell: opener }];
    if (hasTexts) list.push(words("Text", q => data.texts[q]));
    if (data.tags.length) list.push(words("Tags", q => data.tags[q]));
    const base = plain(state.base);
    list.push({ ...base, title: `${base.title} (baseline)` });
    for (const s of others()) {
      list.push(plain(s));
      const delta = numbers("\u0394", q => difference(s, q), signed, kind);
      const meanOnly = delta.mean;
      delta.label = `Difference of ${data.systems[s]} from ${data.systems[state.base]}`;
      delta.mean = queries => {
        const cell = meanOnly(queries);
        cell.append(make("small", {}, wins(s, queries)));
        return cell;
      };
      list.push(delta);
    }
    return list;
  };
  const wins = (system, queries) => {
    const kinds = queries.map(q => kind(difference(system, q)));
    const of = name => number(kinds.filter(k => k === name).length);
    return `better ${of("gain")}, worse ${of("loss")}`;
  };
  const opener = q => {
    const button = make("button", { type: "button" }, data.ids[q]);
    button.setAttribute("aria-expanded", state.open.has(q));
    button.addEventListener("click", () => {
      state.open.has(q) ? state.open.delete(q) : state.open.add(q);
      button.setAttribute("aria-expanded", state.open.has(q));
      const row = button.closest("tr");
      if (state.open.has(q)) row.after(details(q)); else row.nextElementSibling.remove();
    });
    return make("th", { scope: "row", className: "left" }, button);
  };

  // --- What an opened query shows
  const contents = explorerDetails({ data, make, value, kind, figure });
  const details = q => {
    const parts = contents(q, state.base, others());
    return make("tr", { className: "more" }, make("td", { colSpan: head.cells.length }, ...parts));
  };

  // --- Drawing
  const head = make("tr");
  const body = make("tbody");
  at("rows").append(make("table", { className: "explorer" }, make("thead", {}, head), body));
  let drawn = [];
  const sorted = () => {
    if (!state.sort) return state.found;
    const { column, way } = state.sort;
    const sign = way === "descending" ? -1 : 1;
    const collator = new Intl.Collator(undefined, { numeric: true });
    const keyed = state.found.map(q => ({ q, key: drawn[column].key(q) }));
    keyed.sort(({ key: x }, { key: y }) => {
      // What is missing comes last either way.
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "number" ? x - y : collator.compare(x, y));
    });
    return keyed.map(({ q }) => q);
  };
  const drawHead = () => {
    drawn = columns();
    if (state.sort && !drawn[state.sort.column]) state.sort = null;
    head.replaceChildren(...drawn.map((column, i) => {
      const button = make("button", { type: "button", title: "Sort by this column" }, column.title);
      if (column.label) button.setAttribute("aria-label", column.label);
      button.addEventListener("click", () => sortBy(i));
      const side = column.isNumber ? "right" : "left";
      return make("th", { scope: "col", className: side }, button);
    }));
    markSorted();
    drawRows();
  };
  const markSorted = () => [...head.cells].forEach((cell, i) => {
    if (state.sort?.column === i) cell.setAttribute("aria-sort", state.sort.way);
    else cell.removeAttribute("aria-sort");
  });
  const sortBy = column => {
    const ways = ["descending", "ascending"];
    if (!drawn[column].isNumber) ways.reverse();
    const now = state.sort?.column === column ? ways.indexOf(state.sort.way) : -1;
    state.sort = now === 1 ? null : { column, way: ways[now + 1] };
    state.page = 0;
    markSorted();
    drawRows();
  };
  const meanRow = () => {
    const first = drawn.findIndex(column => column.mean);
    const text = `Mean of ${number(state.found.length)}`;
    const title = make("th", { scope: "row", className: "left", colSpan: first }, text);
    const cells = drawn.slice(first).map(column => column.mean(state.found));
    return make("tr", { className: "found-mean" }, title, ...cells);
  };
  const drawRows = () => {
    const pages = Math.max(1, Math.ceil(state.found.length / ROWS));
    state.page = Math.min(state.page, pages - 1);
    const first = state.page * ROWS;
    const rows = sorted().slice(first, first + ROWS).flatMap(q => {
      const row = make("tr", {}, ...drawn.map(column => column.cell(q)));
      return state.open.has(q) ? [row, details(q)] : [row];
    });
    body.replaceChildren(...(rows.length ? [meanRow(), ...rows] : []));
    const last = Math.min(first + ROWS, state.found.length);
    const total = state.found.length === count
      ? `${number(count)} queries` : `${number(state.found.length)} of ${number(count)} queries`;
    at("shown").textContent = state.found.length
      ? `${data.measures[state.measure].name}, ${total}; rows ${number(first + 1)} to `
        + `${number(last)}.`
      : `No query has all of these words.`;
    at("pages").textContent = `Page ${state.page + 1} of ${number(pages)}`;
    // Not disabled, which would take the keyboard's focus away.
    at("previous").setAttribute("aria-disabled", state.page === 0);
    at("next").setAttribute("aria-disabled", state.page === pages - 1);
  };

  // --- Controls
  const search = () => {
    const words = at("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    state.found = words.length
      ? everyQuery.filter(q => words.every(word => haystack[q].includes(word))) : everyQuery;
    state.page = 0;
    drawRows();
  };
  const turn = by => {
    state.page = Math.max(0, state.page + by);
    drawRows();
  };
  const choose = systems => {
    state.chosen = new Set(systems);
    state.sort = null;
    drawHead();
    const shown = new Set([...state.chosen, state.base]).size;
    at("chosen").textContent = `Systems shown: ${shown} of ${data.systems.length}`;
    boxes.forEach((box, s) => {
      box.disabled = s === state.base;
      box.checked = state.chosen.has(s) || s === state.base;
    });
  };
  const boxes = data.systems.map((name, s) => {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      box.checked ? state.chosen.add(s) : state.chosen.delete(s);
      choose(state.chosen);
    });
    at("systems").append(make("label", {}, box, name));
    return box;
  });
  data.measures.forEach(({ name }, m) => at("measure").append(make("option", { value: m }, name)));
  data.systems.forEach((name, s) => at("base").append(make("option", { value: s }, name)));
  at("base").value = state.base;
  at("measure").addEventListener("change", () => {
    state.measure = Number(at("measure").value);
    drawRows();
  });
  at("base").addEventListener("change", () => {
    state.base = Number(at("base").value);
    choose(state.chosen);
  });
  at("find").addEventListener("input", search);
  at("all").addEventListener("click", () => choose(data.systems.keys()));
  at("none").addEventListener("click", () => choose([]));
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  choose(state.chosen);
  root.hidden = false;
})();
