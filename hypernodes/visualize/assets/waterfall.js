"use strict";
// A timeline: a row for each scope, only those in sight drawn, so that a hundred thousand do no harm.

const HIGH = 24;
const FEW = 12; // a map with more items is folded at first
const spans = DATA.spans.map(([parent, kind, name, start, end, state, error, worker], id) =>
  ({ id, parent, kind, name, start, end, state, error, worker, inside: [], depth: 0 }));
const roots = [];
for (const span of spans) (span.parent === null ? roots : spans[span.parent].inside).push(span);
const folded = new Set(spans.filter((each) => each.kind === "map" && each.inside.length > FEW).map((each) => each.id));
const critical = new Set(DATA.critical);
let rows = [];
let mode = "scopes";
let zoomed = 1;
let wanted = "";

const matches = (span) => span.name.toLowerCase().includes(wanted) || (span.error || "").toLowerCase().includes(wanted);

function collect() {
  rows = [];
  if (mode === "workers") {
    rows = DATA.workers.map((worker, place) => ({
      worker, name: `${worker.thread} of ${worker.process}`, many: `${count(worker.nodes, "node")} · ${Math.round(100 * worker.busy)} % busy`,
      bars: spans.filter((each) => each.worker === place), took: worker.seconds, depth: 0,
    }));
  } else {
    const walk = (list, depth) => {
      for (const span of list) {
        const closed = folded.has(span.id);
        const row = { span, depth, name: span.name, bars: [span], took: span.end - span.start, closed };
        if (span.kind === "map") row.many = count(span.inside.filter((each) => each.kind === "map_item").length, "item");
        if (closed) row.bars = leaves(span);
        rows.push(row);
        if (!closed) walk(span.inside, depth + 1);
      }
    };
    walk(roots, 0);
  }
  found.textContent = wanted ? `${spans.filter(matches).length} of ${spans.length}` : "";
  draw();
}

function leaves(span) {
  if (!span.inside.length) return span.kind === "node" ? [span] : [];
  return span.inside.flatMap(leaves);
}

// Bars too close to be told apart become one.
function merged(bars, pixel) {
  const made = [];
  for (const bar of [...bars].sort((a, b) => a.start - b.start)) {
    const last = made[made.length - 1];
    if (last && last.state === bar.state && bar.start <= last.end + pixel) last.end = Math.max(last.end, bar.end);
    else made.push({ start: bar.start, end: bar.end, state: bar.state });
  }
  return made;
}

function draw() {
  const whole = DATA.axis || DATA.seconds || 1e-9;
  const width = Math.max(1, zoomed * (scroll.clientWidth - 374));
  body.style.height = `${rows.length * HIGH + 26}px`;
  body.style.width = `${width + 374}px`;
  const first = Math.max(0, Math.floor((scroll.scrollTop - 26) / HIGH) - 4);
  const last = Math.min(rows.length, first + Math.ceil(scroll.clientHeight / HIGH) + 10);
  const part = (seconds) => `${(100 * seconds) / whole}%`;
  const drawn = [];
  const step = tick(whole / Math.max(1, width / 110));
  const axis = el("div", { id: "axis" }, el("div", { class: "what" }), el("div", { class: "lane" }));
  for (let at = 0; at <= whole * 1.0001; at += step) {
    const mark = el("span", { class: "tick" }, time(at, step));
    mark.style.left = part(at);
    axis.lastChild.append(mark);
  }
  drawn.push(axis);
  for (let place = first; place < last; place++) {
    const row = rows[place];
    const scope = row.span && row.span.kind !== "node";
    const names = ["row", row.worker ? "worker" : scope ? "scope" : "", row.closed ? "merged" : ""];
    if (wanted && row.span) names.push(matches(row.span) ? "hit" : "miss");
    const sign = row.span && row.span.inside.length ? (row.closed ? "▸" : "▾") : null;
    const fold = el("button", { class: sign ? "fold" : "fold none", "aria-label": `${row.closed ? "Unfold" : "Fold"} ${row.name}`, onclick: () => toggle(row.span) }, sign || "▸");
    const what = el("div", { class: "what" }, fold,
      el("span", { class: `dot ${row.span ? row.span.state : "completed"}` }), el("span", { class: "name" }, row.name), el("span", { class: "many" }, row.many));
    what.style.paddingLeft = `${10 + row.depth * 14}px`;
    const lane = el("div", { class: "lane" });
    const bars = row.bars.length > 1 ? merged(row.bars, whole / width) : row.bars;
    for (const bar of bars) {
      const made = el("i", { class: `${bar.state} ${critical.has(bar.id) ? "critical" : ""}` });
      made.style.left = part(bar.start);
      made.style.width = part(bar.end - bar.start);
      lane.append(made);
    }
    const line = el("div", { class: names.filter(Boolean).join(" "), "data-name": row.name }, what, lane,
      el("span", { class: "took" }, row.span && row.span.state === "cached" ? "cached" : time(row.took)));
    line.style.top = `${26 + place * HIGH}px`;
    line.addEventListener("pointermove", (event) => show(event, row));
    line.addEventListener("pointerleave", () => { tip.hidden = true; });
    drawn.push(line);
  }
  body.replaceChildren(...drawn);
}

function tick(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least);
}

function toggle(span) {
  folded.has(span.id) ? folded.delete(span.id) : folded.add(span.id);
  collect();
}

function show(event, row) {
  const span = row.span;
  const lines = span
    ? [`${span.kind.replace("_", " ")} · ${span.state} · ${time(row.took)}`, `from ${time(span.start)} to ${time(span.end)}`]
    : [row.many];
  if (span && span.worker !== null) lines.push(`on ${DATA.workers[span.worker].thread} of process ${DATA.workers[span.worker].process}`);
  if (span && critical.has(span.id)) lines.push("on the critical path");
  tip.replaceChildren(el("b", {}, row.name), ...lines.map((each) => el("div", {}, each)), span && span.error ? el("div", { class: "error" }, span.error) : "");
  tip.hidden = false;
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px`;
}

function table() {
  const nodes = [...DATA.nodes].sort((a, b) => b.seconds - a.seconds);
  const most = nodes.length ? nodes[0].seconds || 1 : 1;
  const body = nodes.map((node) => {
    const share = el("span", { class: "share" });
    share.style.width = `${Math.max(1, (90 * node.seconds) / most)}px`;
    return el("tr", {}, el("td", {}, el("span", { class: `dot ${node.state}` }), ` ${node.node}`),
      ...[node.ran, node.cached, node.failed].map((each) => el("td", {}, each.toLocaleString("en"))),
      el("td", {}, share, time(node.seconds)), ...[node.mean, node.p95, node.longest].map((each) => el("td", {}, node.ran ? time(each) : "–")));
  });
  const heads = ["node", "ran", "cached", "failed", "total", "mean", "p95", "longest"];
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((each) => el("th", {}, each)))), el("tbody", {}, ...body));
}

function zoom(factor) {
  const before = zoomed;
  zoomed = Math.min(200, Math.max(1, zoomed * factor));
  scroll.scrollLeft *= zoomed / before;
  draw();
}

const pressed = (button, is) => button.setAttribute("aria-pressed", is);
const body = el("div", { id: "rows" });
const scroll = el("main", { id: "scroll", tabindex: 0 }, body);
const panel = el("section", { id: "panel", hidden: true }, table());
const tip = el("aside", { id: "tip", hidden: true });
const field = el("input", { type: "search", id: "search", placeholder: "Search  ( / )", "aria-label": "Search", oninput: () => { wanted = field.value.trim().toLowerCase(); if (wanted) reveal(); collect(); } });
const states = ["completed", "cached", "failed", "running"].filter((state) => spans.some((each) => each.state === state));
const legend = el("footer", { id: "legend" },
  ...states.map((state) => el("span", {}, el("i", { class: state }), state)),
  critical.size ? el("span", { title: "The chain of nodes that decided how long the run took" }, el("i", { class: "completed critical" }), "on the critical path: decided how long the run took") : null,
  el("span", {}, el("i", { class: "scope completed" }), "pipeline, map or item"));
const found = el("span", { class: "found", id: "found" });
const byWorker = el("button", { id: "workers", "aria-pressed": false, onclick: () => { mode = mode === "workers" ? "scopes" : "workers"; pressed(byWorker, mode === "workers"); collect(); } }, "Workers");
const byNode = el("button", { id: "nodes", "aria-pressed": false, onclick: () => { panel.hidden = !panel.hidden; pressed(byNode, !panel.hidden); draw(); } }, "Slowest");

// Unfold what is around the first matches.
function reveal() {
  const hits = spans.filter(matches);
  for (const hit of hits.slice(0, 50)) for (let above = hit.parent; above !== null; above = spans[above].parent) folded.delete(above);
}

const [hits, total] = DATA.hits;
const failed = spans.filter((each) => each.kind === "node" && each.state === "failed").length;
const about = [time(DATA.seconds), count(total, "node"), hits ? `${hits.toLocaleString("en")} cached` : "", failed ? `${failed} failed` : "",
  count(DATA.workers.length, "worker"), critical.size ? `critical path: ${count(critical.size, "node")}` : ""];
document.body.append(
  el("header", { class: "bar" },
    roots.length ? el("span", { class: `dot ${roots[0].state}` }) : "", el("h1", {}, document.title), el("span", { class: "about" }, about.filter(Boolean).join(" · ")),
    field, found, byNode, byWorker,
    el("button", { id: "fold", onclick: () => { for (const each of spans) if (each.inside.length && each.parent !== null) folded.add(each.id); collect(); } }, "Fold"),
    el("button", { id: "unfold", onclick: () => { folded.clear(); collect(); } }, "Unfold"),
    el("button", { "aria-label": "Zoom in", onclick: () => zoom(1.6) }, "+"), el("button", { "aria-label": "Zoom out", onclick: () => zoom(1 / 1.6) }, "−"), themeButton()),
  scroll, panel, legend, tip);
scroll.addEventListener("scroll", draw);
scroll.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 250));
}, { passive: false });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== field) { event.preventDefault(); field.focus(); }
  if (event.key === "Escape") { field.value = wanted = ""; collect(); }
});
new ResizeObserver(draw).observe(scroll); // a frame gets its width after this has run
collect();
document.documentElement.dataset.ready = "";
