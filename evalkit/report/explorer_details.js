// What an opened query of the explorer shows: its text, every measure, and the documents that each
// system has on top with their judgements. The numbers and small helpers are explorer.js's.
const explorerDetails = ({ data, make, value, kind, figure }) => {
  const MISSING = "\u2013";

  const table = (caption, heads, rows, side = "right") => {
    const sides = i => i ? side : "left";
    const cell = (part, i) => i === 0
      ? make("th", { scope: "row", className: "left" }, part)
      : part instanceof Node ? part : make("td", { className: side }, part);
    return make("table", {},
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, ...heads.map((head, i) =>
        make("th", { scope: "col", className: sides(i) }, head)))),
      make("tbody", {}, ...rows.map(row => make("tr", {}, ...row.map(cell)))));
  };

  const measures = (q, base, shown, names) => {
    const rows = data.measures.map((measure, m) => [measure.name, ...shown.map(s => {
      const [x, y] = [value(s, q, m), value(base, q, m)];
      const className = x === null || y === null ? "" : kind(x - y, m);
      return make("td", { className: `right ${className}` }, figure(x));
    })]);
    return table("Every measure", ["Measure", ...names], rows);
  };

  // Position of a document → its grade, of those of this query that are judged.
  const gradesOf = q => {
    const flat = data.docs.judged.grades[q];
    return new Map(flat.flatMap((doc, i) => i % 2 ? [] : [[doc, flat[i + 1]]]));
  };

  const documents = (q, base, shown, names) => {
    const { ids, runs, depth, judged } = data.docs;
    const grades = judged ? gradesOf(q) : new Map();
    const isRelevant = doc => grades.has(doc) && grades.get(doc) >= judged.level;
    const before = new Map(runs[base][q].map((doc, i) => [doc, i + 1]));
    const moved = (doc, rank) => {
      if (!before.has(doc)) return `not in the baseline's ${depth}`;
      return before.get(doc) === rank ? "same place" : `baseline's #${before.get(doc)}`;
    };
    const about = (s, doc, rank) => [
      ...(judged ? [grades.has(doc) ? `grade ${grades.get(doc)}` : "not judged"] : []),
      ...(s === base ? [] : [moved(doc, rank)]),
    ].join(", ");
    const entry = (s, i) => {
      const doc = runs[s][q][i];
      if (doc === undefined) return MISSING;
      // Bold, not a colour: seen in print and by everyone.
      const name = isRelevant(doc) ? make("strong", {}, ids[doc]) : ids[doc];
      const words = about(s, doc, i + 1);
      return make("td", { className: "left" }, name, ...(words ? [make("small", {}, words)] : []));
    };
    const longest = Math.max(0, ...shown.map(s => runs[s][q].length));
    const rows = [...Array(longest).keys()].map(i => [`#${i + 1}`, ...shown.map(s => entry(s, i))]);
    if (!judged) return table(`First ${longest} documents`, ["Rank", ...names], rows, "left");
    const all = judged.relevant[q];
    const found = s => `${runs[s][q].filter(isRelevant).length} of ${all}`;
    const caption = `First ${longest} documents; bold: relevant, grade ${judged.level} or higher`;
    return table(caption, ["Rank", ...names], [["Relevant", ...shown.map(found)], ...rows], "left");
  };

  // Elements for query q; the baseline comes first.
  return (q, base, others) => {
    const shown = [base, ...others];
    const names = shown.map(s => data.systems[s]);
    const parts = [make("p", {}, make("strong", {}, data.texts[q]))];
    if (data.tags[q]) parts.push(make("p", {}, `Tags: ${data.tags[q]}`));
    parts.push(measures(q, base, shown, names));
    if (data.docs) parts.push(documents(q, base, shown, names));
    return parts;
  };
};
