"""Style and script of pages: sorting, filtering, hiding, values on hover, download."""

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1d2126; --soft: #5c6570;
  --line: #d5d9de; --best: #e3f3ea; --best-ink: #0b5a33; --bad: #a3341f; --hover: #f1f4f7; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1b1f24; --ink: #e4e7eb;
  --soft: #98a2ae; --line: #3a414a; --best: #17392a; --best-ink: #7fd6a6;
  --bad: #f0907c; --hover: #242a31; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1440px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; } h2 { font-size: 19px; margin: 40px 0 10px; }
h3 { font-size: 15px; margin: 26px 0 8px; } p, ul { margin: 6px 0; }
.soft, .legend, figcaption { color: var(--soft); font-size: 13.5px; }
.legend { padding-left: 18px; max-width: 105ch; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 6px 11px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; } tbody tr:hover > * { background: var(--hover); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tbody th { font-weight: 600; } thead th { vertical-align: bottom; } td.text, th.text { text-align: left; }
td.long, tbody th.long { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 14em; }
thead tr.tasks th { font-size: 12.5px; color: var(--soft); text-align: center; padding: 6px 11px 0;
  border-bottom: 0; font-weight: 600; } thead tr.tasks th:not(:empty) { border-left: 1px solid var(--line); }
button { font: inherit; color: inherit; }
thead button { all: unset; cursor: pointer; font-weight: 600; }
:focus-visible { outline: 2px solid #3b82c4; outline-offset: 2px; border-radius: 2px; }
thead button:focus-visible { outline: 2px solid #3b82c4; outline-offset: 3px; }
thead button::after { content: " \\2195"; color: var(--line); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--ink); }
td.best { background: var(--best); color: var(--best-ink); font-weight: 650; }
tbody tr:hover > td.best { background: var(--best); }
.sd, .interval { display: block; color: var(--soft); font-weight: 400; font-size: 12.5px; }
.best .sd { color: inherit; } .worse { color: var(--bad); } .sure { font-weight: 650; }
.chip { display: inline-block; margin: 1px 12px 1px 0; } .chip b { font-weight: 600; }
.tools { display: flex; flex-wrap: wrap; gap: 8px 14px; margin: 10px 0; align-items: center; }
.tools input { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: 5px 9px; width: 18em; max-width: 100%; }
.tools button, .key button { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: 5px 11px; cursor: pointer; }
.key { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: 4px 6px; padding: 8px 0;
  background: var(--page); font-size: 13px; max-height: 30vh; overflow-y: auto; }
.key button { padding: 1px 9px; text-align: left; overflow-wrap: anywhere; }
.key button[aria-pressed=false] { opacity: 0.45; text-decoration: line-through; }
.key svg { vertical-align: middle; margin-right: 6px; }
figure { margin: 0; padding: 12px 14px; }
.panels { display: flex; flex-wrap: wrap; gap: 14px 12px; margin-top: 8px; }
.panel { max-width: 100%; }
.panel > svg { max-width: 100%; height: auto; display: block; touch-action: pan-y; }
.panel .name { font-size: 13px; font-weight: 600; overflow-wrap: anywhere; max-width: 330px; }
.panel .cut { font-size: 12px; color: var(--bad); max-width: 330px; overflow-wrap: anywhere; }
.panel text { font-size: 11px; fill: var(--ink); } .panel .e { text-anchor: end; }
.panel .m { text-anchor: middle; } .panel .on { fill: #fff; } .panel .struck { fill: var(--bad); }
.panel .g { stroke: var(--line); stroke-width: 0.7; } .panel .r { stroke: var(--ink); stroke-width: 0.8; }
.panel .c { fill: none; stroke-width: 1.6; } .panel .k { fill: none; stroke-dasharray: none; }
.panel .b { opacity: 0.15; stroke: none; } .panel circle { fill-opacity: 0.6; stroke: none; }
.panel circle.full { fill: #0072b2; fill-opacity: 1; } .panel circle.small { fill: #0072b2; }
.panel circle.ring { fill: none; stroke: #8a8d94; stroke-width: 1.6; } .panel .star { fill: #d55e00;
  font-size: 20px; }
#tip { position: fixed; z-index: 9; pointer-events: none; background: var(--ink); color: var(--page);
  border-radius: 5px; padding: 3px 8px; font-size: 12.5px; max-width: 90vw; }
#tip[hidden] { display: none; }
summary { cursor: pointer; font-weight: 600; margin: 18px 0 8px; }
.narrow { display: none; }
footer { margin-top: 44px; color: var(--soft); font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 10px 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 0; padding: 12px 14px; overflow-x: auto; font-size: 12.5px; }
@media (max-width: 600px) {
  main { padding: 16px 10px 48px; } figure { padding: 8px; }
  table, thead, tbody, tr, td, tbody th { display: block; width: 100%; }
  thead tr { display: flex; flex-wrap: wrap; gap: 2px 14px; padding: 6px 10px; border-bottom: 1px solid
  var(--line); } thead tr.tasks { display: none; }
  thead th { position: static; padding: 2px 0; border: 0; }
  tbody tr { border-bottom: 2px solid var(--line); padding: 4px 0; }
  td, tbody th { position: static; border: 0; padding: 2px 10px; white-space: normal; overflow-wrap: anywhere;
  text-align: left; }
  td::before { content: attr(data-name) "  "; color: var(--soft); font-weight: 400; }
  td.none, .wide { display: none; } .narrow { display: inline; }
  td.long, tbody th.long { min-width: 0; } .sd, .interval { display: inline; }
  dl { grid-template-columns: 1fr; } dt { margin-top: 6px; }
}
"""
# Empty values sort last in both directions; one click sorts by the better end first.
SCRIPT = """
for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0], at = head.cellIndex;
  const first = head.dataset.first || "descending", other = first == "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") == first ? other : first, sign = order == "ascending" ? 1 : -1;
  for (const each of head.parentNode.cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const value = row => row.cells[at].dataset.value ?? "";
  const compare = (a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
  };
  body.append(...[...body.rows].sort(compare));
});
for (const section of document.querySelectorAll("section[data-table]")) {
  const names = JSON.parse(section.dataset.names || "[]"), off = new Set(), unlike = new Set();
  const hiding = section.appendChild(document.createElement("style"));
  const show = () => {
    const gone = [...new Set([...off, ...unlike])];
    hiding.textContent = gone.map(i => `[data-table="${section.dataset.table}"] [data-run="${i}"]`).join(",")
      + (gone.length ? "{display:none}" : "");
  };
  for (const button of section.querySelectorAll(".key button[data-of]")) button.onclick = () => {
    const i = +button.dataset.of, gone = !off.delete(i) && off.add(i);
    button.setAttribute("aria-pressed", !gone);
    show();
  };
  for (const button of section.querySelectorAll(".key button[data-all]")) button.onclick = () => {
    const all = button.dataset.all == "1";
    for (const each of section.querySelectorAll(".key button[data-of]")) {
      each.setAttribute("aria-pressed", all);
      all ? off.delete(+each.dataset.of) : off.add(+each.dataset.of);
    }
    show();
  };
  const filter = section.querySelector("input[type=search]");
  if (filter) filter.oninput = () => {
    const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
    const like = name => words.every(word => name.toLowerCase().includes(word));
    names.forEach((name, i) => like(name) ? unlike.delete(i) : unlike.add(i));
    let shown = 0;
    names.forEach(name => shown += like(name));
    for (const row of section.querySelectorAll("tr[data-name]")) row.hidden = !like(row.dataset.name);
    for (const button of section.querySelectorAll(".key button[data-of]"))
      button.hidden = unlike.has(+button.dataset.of);
    section.querySelector("output").textContent = words.length ? `${shown} of ${names.length}` : "";
    show();
  };
  const csv = section.querySelector("button[data-csv]");
  if (csv) csv.onclick = () => {
    const text = JSON.parse(section.querySelector("script[type='application/json']").textContent);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
    link.download = csv.dataset.csv;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
}
// Values on hover are read back from what is drawn, by the ends of the axes.
const tip = document.body.appendChild(Object.assign(document.createElement("div"), {id: "tip"}));
tip.hidden = true;
const digits = value => String(+value.toPrecision(5));
const pointsOf = new WeakMap();
const points = inner => {
  const groups = [...inner.querySelectorAll("g[data-run]")];
  if (!pointsOf.has(inner)) pointsOf.set(inner, groups.flatMap(group =>
    group.dataset.row !== undefined
      ? [...group.querySelectorAll("circle")].map(c => [group, +c.getAttribute("cx"), +c.getAttribute("cy")])
      : group.querySelector(".c").getAttribute("d").slice(1).split("L")
        .map(point => [group, ...point.split(" ").map(Number)])));
  return pointsOf.get(inner);
};
const look = event => {
  const panel = event.target.closest?.(".panel > svg"), inner = panel?.querySelector("svg.in");
  if (!inner) { tip.hidden = true; return; }
  const box = panel.getBoundingClientRect(), scale = panel.viewBox.baseVal.width / box.width;
  const width = +inner.getAttribute("width"), height = +inner.getAttribute("height");
  const x = (event.clientX - box.left) * scale - inner.getAttribute("x");
  const y = (event.clientY - box.top) * scale - inner.getAttribute("y");
  let best = null, least = 30 ** 2;
  for (const [group, px, py] of points(inner)) {
    if (px < -1 || py < -1 || px > width + 1 || py > height + 1) continue;
    const far = (px - x) ** 2 + (py - y) ** 2;
    if (far < least && getComputedStyle(group).display != "none") { best = [group, px, py]; least = far; }
  }
  if (!best) { tip.hidden = true; return; }
  const [group, px, py] = best, [x0, x1] = inner.dataset.x.split(" ").map(Number);
  let [y0, y1] = inner.dataset.y.split(" ").map(Number);
  const across = x0 + px / width * (x1 - x0), part = 1 - py / height;
  const up = inner.dataset.log ? y0 * (y1 / y0) ** part : y0 + part * (y1 - y0);
  const names = JSON.parse(panel.closest("section").dataset.names || "[]");
  const who = [group.dataset.row ?? names[group.dataset.run], group.dataset.n].filter(Boolean).join(", ");
  tip.textContent = group.dataset.row !== undefined ? `${who}: ${digits(across)}`
    : `${who ? who + ": " : ""}${digits(up)} at ${digits(across)}`;
  tip.hidden = false;
  const left = Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 6);
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, event.clientY - 34)}px`;
};
document.addEventListener("pointermove", look);
document.addEventListener("pointerdown", look);
"""
