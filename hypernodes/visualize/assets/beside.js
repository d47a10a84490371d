"use strict";
// Two runs side by side: their waterfalls on one scale of time, and a table of what has changed.

const [before, after] = DATA.seconds;
const change = (was, is) => (was && is ? `${is >= was ? "+" : "−"}${Math.round((100 * Math.abs(is - was)) / was)} %` : "");
const speed = (was, is) => (was && is && Math.abs(is - was) > 0.05 * was ? (is > was ? "slower" : "faster") : "");

function cells(run) {
  return run ? [el("td", {}, run.ran.toLocaleString("en")), el("td", {}, run.cached.toLocaleString("en")), el("td", {}, time(run.seconds))]
    : ["–", "–", "–"].map((each) => el("td", {}, each));
}

const body = DATA.nodes.map(({ node, first, second }) =>
  el("tr", {}, el("td", {}, node), ...cells(first), ...cells(second),
    el("td", { class: speed(first?.seconds, second?.seconds) }, change(first?.seconds, second?.seconds))));
const heads = ["node", "ran", "cached", "total", "then: ran", "cached", "total", "change"];
document.body.append(
  el("header", { class: "bar" }, el("h1", {}, document.title),
    el("span", { class: "about" }, `${time(before)}, then ${time(after)} ${change(before, after)}`), themeButton()),
  el("main", { id: "runs" }, ...DATA.pages.map((page, place) => el("iframe", { srcdoc: page, sandbox: "allow-scripts", title: ["first run", "second run"][place] }))),
  el("section", { id: "panel" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((each) => el("th", {}, each)))), el("tbody", {}, ...body))));
document.documentElement.dataset.ready = "";
