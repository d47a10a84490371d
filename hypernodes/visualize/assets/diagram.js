"use strict";
// A pipeline as cards and edges. Each pipeline is laid out on its own, and what is nested is one box
// in the layout around it; so folding one never moves what is inside another.

const ROOT = DATA.pipeline;
const READABLE = 45; // so many cards are shown unfolded at first
const folded = new Set();
const nodes = new Map(); // every node by path: {node, above}, above is the path of the nested pipeline
let direction = "TB";
let view = { x: 0, y: 0, scale: 1 };
let longest = 0;
let pinned = null;

(function collect(pipeline, above, level) {
  for (const node of pipeline.nodes) {
    nodes.set(node.path, { node, above, level });
    if (node.inner) collect(node.inner, node.path, level + 1);
    else if (node.run) longest = Math.max(longest, node.run.seconds);
  }
})(ROOT, null, 0);

function foldAll(is) {
  for (const [path, { node, level }] of nodes) if (node.inner && is(node, level)) folded.add(path);
}

if (DATA.depth !== null) foldAll((node, level) => level >= DATA.depth);
else {
  let shown = ROOT.nodes.length;
  for (let level = 0; ; level++) {
    const here = [...nodes.values()].filter((each) => each.node.inner && each.level === level);
    if (!here.length) break;
    const more = here.reduce((sum, each) => sum + each.node.inner.nodes.length, 0);
    if (shown + more > READABLE) { foldAll((node, at) => at >= level); break; }
    shown += more;
  }
}

// -- Elements -------------------------------------------------------------------------------------

const typed = (name, type, more = "") =>
  [el("b", {}, name), type ? `: ${type}` : "", more];

function told(run) {
  if (!run) return "";
  const parts = [];
  if (run.ran) parts.push(time(run.seconds));
  if (run.ran > 1) parts.push(count(run.ran, "run"));
  if (run.cached) parts.push(`${run.cached.toLocaleString("en")} cached`);
  if (run.failed) parts.push(`${run.failed.toLocaleString("en")} failed`);
  return parts.join(" · ");
}

const over = (node) =>
  node.over && node.over.length ? `for each of ${node.over.join(node.mode === "product" ? " × " : ", ")}` : "";

function card(node) {
  const state = node.run ? node.run.state : "";
  const name = el("div", { class: "name" }, state ? el("span", { class: `dot ${state}` }) : null, node.id);
  const made = el("div", { class: `card place ${state}`, "data-path": node.path, tabindex: 0 }, name);
  if (node.inner) {
    made.classList.add("folded");
    name.prepend(foldButton(node, "▸"));
    made.append(el("div", { class: "sub" }, [count(node.inner.nodes.length, "node"), over(node)].filter(Boolean).join(" · ")));
    made.addEventListener("click", () => toggle(node.path));
  } else {
    made.addEventListener("click", (event) => { event.stopPropagation(); pin(made, node); });
  }
  const run = told(node.run);
  if (run) {
    made.append(el("div", { class: "sub" }, run));
    const share = el("div", { class: "share" });
    if (!node.inner && longest) share.style.width = `${(100 * node.run.seconds) / longest}%`;
    made.append(share);
  }
  hovers(made, node);
  return made;
}

function foldButton(node, sign) {
  const press = (event) => { event.stopPropagation(); toggle(node.path); };
  return el("button", { class: "fold", "aria-label": `${sign === "▸" ? "Unfold" : "Fold"} ${node.id}`, onclick: press }, sign);
}

function nestedBox(node) {
  const state = node.run ? node.run.state : "";
  const body = el("div", { class: "body" });
  const head = el(
    "div", { class: "head", onclick: () => toggle(node.path) }, foldButton(node, "▾"),
    state ? el("span", { class: `dot ${state}` }) : null, node.id,
    el("span", { class: "sub" }, [over(node), told(node.run)].filter(Boolean).join(" · ")),
  );
  hovers(head, node);
  return [el("div", { class: `nested place ${state}`, "data-path": node.path }, head, body), body];
}

function pills(pipeline) {
  // Inputs that go to the same nodes stand together.
  const groups = new Map();
  for (const [kind, list] of [["input", pipeline.inputs], ["bound", pipeline.bound]]) {
    for (const each of list) {
      const key = `${kind} ${each.to.join(" ")}`;
      if (!groups.has(key)) groups.set(key, { kind, to: each.to, inputs: [] });
      groups.get(key).inputs.push(each);
    }
  }
  return [...groups.values()].map(({ kind, to, inputs }) => ({
    to,
    element: el(
      "div", { class: `pill place ${kind}`, "data-inputs": inputs.map((each) => each.name).join(" ") },
      ...inputs.map((each) => el("div", {}, ...typed(each.name, each.type, each.default === null ? "" : ` = ${each.default}`))),
    ),
  }));
}

// -- Layout ---------------------------------------------------------------------------------------

const LABELLED = 80; // with more edges than this, labels only show where one points
let viz = null;

function layout(pipeline, into) {
  const elements = [];
  const places = new Map();
  const put = (key, element) => {
    into.append(element);
    places.set(key, elements.push(element) - 1);
  };
  for (const node of pipeline.nodes) {
    if (node.inner && !folded.has(node.path)) {
      const [box, body] = nestedBox(node);
      into.append(box);
      const size = layout(node.inner, body);
      body.style.width = `${Math.max(size.width, box.firstChild.scrollWidth + 8)}px`;
      body.style.height = `${size.height}px`;
      put(node.id, box);
    } else put(node.id, card(node));
  }
  const edges = new Map();
  const edge = (source, target, line, kind = "") => {
    const key = `${source}\n${target}`;
    if (!edges.has(key)) edges.set(key, { source: places.get(source), target: places.get(target), lines: [], kind });
    if (line) edges.get(key).lines.push(line);
  };
  for (const each of pipeline.edges) edge(each.source, each.target, el("div", {}, ...typed(each.name, each.type)));
  pills(pipeline).forEach(({ to, element }, place) => {
    put(`in ${place}`, element);
    for (const target of to) edge(`in ${place}`, target, null, "from-input");
  });
  for (const each of pipeline.outputs) {
    put(`out ${each.name}`, el("div", { class: "pill place output", "data-output": each.name }, ...typed(each.name, each.type)));
    edge(each.from, `out ${each.name}`, null);
  }
  const sparse = pipeline.edges.length > LABELLED;
  for (const each of edges.values()) {
    if (!each.lines.length) continue;
    each.label = el("div", { class: sparse ? "label apart" : "label", title: each.lines.map((line) => line.textContent).join("\n") }, ...each.lines);
    into.append(each.label);
  }
  const { width, height, nodes: at, edges: drawn } = arrange(elements, [...edges.values()], sparse);
  const drawing = svg("svg", { class: "edges", width, height });
  into.prepend(drawing);
  elements.forEach((element, place) => centre(element, at[place]));
  [...edges.values()].forEach((each, place) => {
    const { path, head, label } = drawn[place];
    const lit = [svg("path", { d: path, class: each.kind }), svg("path", { d: head, class: "tip" })];
    drawing.append(...lit);
    if (each.label) {
      centre(each.label, label);
      lit.push(each.label);
    }
    for (const end of [each.source, each.target]) (elements[end].lit ??= []).push(...lit);
  });
  return { width, height };
}

function centre(element, at) {
  element.style.left = `${at.x - element.offsetWidth / 2}px`;
  element.style.top = `${at.y - element.offsetHeight / 2}px`;
}

// Where elements and edges go, by Graphviz: a pixel is one of its points.
function arrange(elements, edges, sparse) {
  const inches = (pixels) => (pixels / 72).toFixed(4);
  const cell = ({ offsetWidth: width, offsetHeight: height }) =>
    `<TABLE BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="0" FIXEDSIZE="TRUE" WIDTH="${width + 4}" HEIGHT="${height + 2}"><TR><TD></TD></TR></TABLE>`;
  const made = viz.renderJSON({
    graphAttributes: { rankdir: direction, nodesep: inches(24), ranksep: inches(direction === "TB" ? 34 : 44), pad: "0" },
    nodeAttributes: { shape: "box", fixedsize: "true", label: "" },
    edgeAttributes: { arrowsize: "0.6" },
    nodes: elements.map((each, place) => ({
      name: `${place}`,
      attributes: { width: inches(each.offsetWidth), height: inches(each.offsetHeight) },
    })),
    edges: edges.map((each) => ({
      tail: `${each.source}`,
      head: `${each.target}`,
      attributes: each.label && !sparse ? { label: { html: cell(each.label) } } : {},
    })),
  });
  const [, , right, top] = made.bb.split(",").map(Number);
  const edging = 16;
  const point = (text) => {
    const [x, y] = text.split(",").map(Number);
    return { x: x + edging, y: top - y + edging };
  };
  const pair = ({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`;
  return {
    width: right + 2 * edging,
    height: top + 2 * edging,
    nodes: (made.objects || []).map((each) => point(each.pos)),
    edges: (made.edges || []).map((each) => {
      const parts = each.pos.split(" ");
      const tip = point(parts.shift().slice(2));
      const points = parts.map(point);
      const last = points[points.length - 1];
      const middle = each.lp ? point(each.lp) : points[Math.floor(points.length / 2)];
      return { path: `M${pair(points[0])}C${points.slice(1).map(pair).join(" ")}`, head: arrow(last, tip), label: middle };
    }),
  };

  function arrow(from, to) {
    const across = { x: (to.y - from.y) * 0.38, y: (from.x - to.x) * 0.38 };
    const side = (sign) => pair({ x: from.x + sign * across.x, y: from.y + sign * across.y });
    return `M${pair(to)}L${side(1)}L${side(-1)}Z`;
  }
}

function render(anchor = null) {
  const before = anchor && place(anchor);
  stage.replaceChildren();
  more.hidden = true;
  pinned = null;
  const size = layout(ROOT, stage);
  stage.style.width = `${size.width}px`;
  stage.style.height = `${size.height}px`;
  const after = anchor && place(anchor);
  if (before && after) {
    view.x += before.left - after.left;
    view.y += before.top - after.top;
    move();
  }
  search(false);
}

const shown = (path) => stage.querySelector(`[data-path="${CSS.escape(path)}"]`);
const place = (path) => shown(path)?.getBoundingClientRect();

function toggle(path) {
  folded.has(path) ? folded.delete(path) : folded.add(path);
  render(path);
}

// -- Hovering -------------------------------------------------------------------------------------

const WORDS = /(#.*)|("""[\s\S]*?"""|'''[\s\S]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(@[\w.]+)|\b(def|class|return|if|elif|else|for|while|in|not|and|or|is|None|True|False|lambda|with|as|import|from|try|except|finally|raise|yield|async|await|pass|break|continue|match|case|global|nonlocal|assert|del)\b/g;

function painted(source) {
  const made = el("pre", {});
  let at = 0;
  for (const found of source.matchAll(WORDS)) {
    const kind = found[1] ? "c" : found[2] ? "s" : "k";
    made.append(source.slice(at, found.index), el("span", { class: kind }, found[0]));
    at = found.index + found[0].length;
  }
  made.append(source.slice(at));
  return made;
}

function details(node) {
  const parameters = node.inputs.map((each) => `${each.name}${each.type ? `: ${each.type}` : ""}${each.default === null ? "" : ` = ${each.default}`}`);
  const made = node.outputs.map((each) => `${each.name}${each.type ? `: ${each.type}` : ""}`);
  const parts = [
    el("h2", {}, node.id),
    el("div", { class: "signature" }, `(${parameters.join(", ")}) → `, el("b", {}, made.join(", "))),
  ];
  const run = node.run;
  if (run) {
    const facts = [["ran", run.ran.toLocaleString("en")]];
    if (run.cached) facts.push(["cached", run.cached.toLocaleString("en")]);
    if (run.failed) facts.push(["failed", run.failed.toLocaleString("en")]);
    if (run.retries) facts.push(["retried", run.retries.toLocaleString("en")]);
    if (run.ran) facts.push(["total", time(run.seconds)]);
    if (run.ran > 1) facts.push(["mean", time(run.mean)], ["p95", time(run.p95)], ["longest", time(run.longest)]);
    parts.push(el("div", { class: "run" }, el("span", {}, el("i", { class: `dot ${run.state}` }), ` ${run.state}`),
      ...facts.map(([what, value]) => el("span", {}, `${what} `, el("b", {}, value)))));
  }
  if (node.inner) {
    const list = Object.entries(node.renamed).map(([outer, inner]) => `${outer} is ${inner} inside`);
    parts.push(el("p", {}, [`A pipeline of ${count(node.inner.nodes.length, "node")}${over(node) ? `, ${over(node)}` : ""}.`, ...list].join("\n")));
  }
  if (node.doc) parts.push(el("p", {}, node.doc));
  if (node.source) parts.push(painted(node.source));
  const where = [node.where, ...(node.options || [])].filter(Boolean).join(" · ");
  if (where) parts.push(el("div", { class: "where" }, where));
  return parts;
}

function show(element, node) {
  more.replaceChildren(...details(node));
  more.hidden = false;
  more.scrollTop = 0;
  const at = element.getBoundingClientRect(), around = canvas.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = more;
  let left = at.right - around.left + 10;
  if (left + width > around.width - 8) left = at.left - around.left - width - 10;
  const fit = (value, most) => Math.max(8, Math.min(value, most));
  more.style.left = `${fit(left, around.width - width - 8)}px`;
  more.style.top = `${fit(at.top - around.top, around.height - height - 8)}px`;
}

function hovers(element, node) {
  let timer = 0;
  const box = () => (element.lit ? element : element.closest(".nested"));
  const light = (on) => (box()?.lit || []).forEach((each) => each.classList.toggle("lit", on));
  const enter = () => {
    light(true);
    clearTimeout(timer); // a click enters twice: with the pointer, and with the focus
    timer = setTimeout(() => { if (!pinned) show(element, node); }, 140);
  };
  const leave = () => { light(false); clearTimeout(timer); if (!pinned) more.hidden = true; };
  element.addEventListener("pointerenter", enter);
  element.addEventListener("pointerleave", leave);
  element.addEventListener("focus", enter);
  element.addEventListener("blur", leave);
}

function pin(element, node) {
  unpin();
  pinned = element;
  element.classList.add("pinned");
  show(element, node);
}

function unpin() {
  pinned?.classList.remove("pinned");
  pinned = null;
  more.hidden = true;
}

// -- Searching ------------------------------------------------------------------------------------

let found = [];
let next = 0;

function text(node) {
  const names = [...node.inputs, ...node.outputs].map((each) => `${each.name} ${each.type}`);
  return [node.id, ...names, node.doc || ""].join("\n").toLowerCase();
}

function search(again = true) {
  const wanted = field.value.trim().toLowerCase();
  found = wanted ? [...nodes].filter(([, { node }]) => text(node).includes(wanted)).map(([path]) => path) : [];
  if (again) next = 0;
  foundText.textContent = wanted ? `${found.length} of ${nodes.size}` : "";
  const hits = new Set(found);
  for (const element of stage.querySelectorAll(".card, .nested")) {
    const path = element.dataset.path;
    const inside = found.some((each) => each.startsWith(`${path}/`));
    element.classList.toggle("match", hits.has(path) || (inside && element.matches(".card")));
    if (element.matches(".card")) element.classList.toggle("dimmed", Boolean(wanted) && !hits.has(path) && !inside);
  }
  for (const element of stage.querySelectorAll(".pill, .label, svg.edges")) element.classList.toggle("dimmed", Boolean(wanted));
}

function goToNext() {
  if (!found.length) return;
  const path = found[next++ % found.length];
  let hidden = false;
  for (let above = nodes.get(path).above; above; above = nodes.get(above).above) hidden = folded.delete(above) || hidden;
  if (hidden) render();
  view.scale = Math.max(view.scale, 0.8);
  move();
  const at = place(path), around = canvas.getBoundingClientRect();
  view.x += around.left + around.width / 2 - (at.left + at.width / 2);
  view.y += around.top + around.height / 2 - (at.top + Math.min(at.height, around.height) / 2);
  move();
}

// -- Moving ---------------------------------------------------------------------------------------

function move() {
  stage.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  canvas.style.backgroundPosition = `${view.x}px ${view.y}px`;
}

function zoom(factor, x, y) {
  const scale = Math.min(3, Math.max(0.05, view.scale * factor));
  view = { x: x - ((x - view.x) * scale) / view.scale, y: y - ((y - view.y) * scale) / view.scale, scale };
  move();
}

function fit(all = true) {
  const { clientWidth, clientHeight } = canvas;
  const width = stage.offsetWidth, height = stage.offsetHeight;
  const free = clientHeight - legend.offsetHeight - 20; // nothing lies under the legend
  let scale = Math.min(clientWidth / width, free / height, 1.15);
  if (!all) scale = Math.max(scale, Math.min(0.6, clientWidth / width), 0.35); // to be read: from the top
  const y = Math.max(all ? 0 : 8, (free - height * scale) / 2);
  view = { x: (clientWidth - width * scale) / 2, y, scale };
  move();
}

// -- The page -------------------------------------------------------------------------------------

const canvas = el("main", { id: "view" });
const stage = el("div", { id: "stage" });
const more = el("aside", { id: "more", hidden: true });
const field = el("input", { type: "search", id: "search", placeholder: "Search  ( / )", "aria-label": "Search nodes, outputs, types", oninput: () => search() });
const foundText = el("span", { class: "found", id: "found" });
const hasNested = [...nodes.values()].some((each) => each.node.inner);
const innermost = [...nodes.values()].filter((each) => !each.node.inner).length;
const about = [count(innermost, "node"), count(ROOT.inputs.length, "input"), count(ROOT.outputs.length, "output"), told(ROOT.run)];
const legend = el("div", { id: "legend" },
  el("span", {}, el("i", {}), "input"), el("span", {}, el("i", { class: "node" }), "node"),
  hasNested ? el("span", {}, el("i", { class: "nest" }), "nested pipeline") : null,
  el("span", {}, el("i", { class: "output" }), "output"),
  ...(ROOT.run ? ["completed", "cached", "failed"].map((state) => el("span", {}, el("b", { class: `dot ${state}` }), state)) : []));

document.body.append(
  el("header", { class: "bar" },
    ROOT.run ? el("span", { class: `dot ${ROOT.run.state}` }) : null,
    el("h1", {}, ROOT.name), el("span", { class: "about" }, about.filter(Boolean).join(" · ")),
    field, foundText,
    ...(hasNested ? [
      el("button", { id: "fold", onclick: () => { foldAll(() => true); render(); fit(false); } }, "Fold"),
      el("button", { id: "unfold", onclick: () => { folded.clear(); render(); fit(false); } }, "Unfold"),
    ] : []),
    el("button", { id: "turn", title: "From the top or from the left", onclick: () => { direction = direction === "TB" ? "LR" : "TB"; render(); fit(false); } }, "⇄"),
    el("button", { id: "fit", title: "All of it", onclick: () => fit() }, "Fit"),
    themeButton()),
  canvas);
canvas.append(stage, legend, more);

field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") goToNext();
  if (event.key === "Escape") { field.value = ""; search(); field.blur(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== field) { event.preventDefault(); field.focus(); }
  if (event.key === "Escape") unpin();
});
canvas.addEventListener("wheel", (event) => {
  const zooms = event.ctrlKey || event.metaKey;
  if (event.target.closest("#more") || (window.parent !== window && !zooms)) return; // a notebook scrolls
  event.preventDefault();
  const around = canvas.getBoundingClientRect();
  if (zooms) zoom(Math.exp(-event.deltaY / 250), event.clientX - around.left, event.clientY - around.top);
  else { view.x -= event.deltaX; view.y -= event.deltaY; move(); }
}, { passive: false });
canvas.addEventListener("pointerdown", (event) => {
  if (event.button || event.target.closest(".card, .head, #more, button")) return;
  const from = { x: event.clientX - view.x, y: event.clientY - view.y };
  const drag = (at) => { view.x = at.clientX - from.x; view.y = at.clientY - from.y; move(); };
  const drop = () => { canvas.classList.remove("dragging"); canvas.removeEventListener("pointermove", drag); };
  unpin();
  canvas.classList.add("dragging");
  canvas.setPointerCapture(event.pointerId);
  canvas.addEventListener("pointermove", drag);
  canvas.addEventListener("pointerup", drop, { once: true });
  canvas.addEventListener("pointercancel", drop, { once: true });
});
window.addEventListener("resize", () => fit(false));

unpack("viz").then(() => Viz.instance()).then((made) => {
  viz = made;
  render();
  fit(false);
  document.documentElement.dataset.ready = "";
});
