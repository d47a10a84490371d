"use strict";
// What the pages share: the data, elements, the theme, texts for times.

const DATA = JSON.parse(document.getElementById("data").textContent);

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

function svg(tag, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// With as many decimals as tell times that are a step apart.
function time(seconds, step = Infinity) {
  const digits = (unit) => Math.max(0, Math.ceil(-Math.log10(step / unit) - 1e-9));
  if (seconds < 0.9995e-3) return `${(seconds * 1e6).toFixed(digits(1e-6))} µs`;
  if (seconds < 0.9995) return `${(seconds * 1e3).toFixed(digits(1e-3))} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(Math.max(1, digits(1)))} s`;
  if (seconds < 89.5) return `${seconds.toFixed(digits(1))} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

function themeButton() {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = dark.matches ? "dark" : "light";
  dark.addEventListener("change", () => { root.dataset.theme = dark.matches ? "dark" : "light"; });
  const turn = () => { root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; };
  return el("button", { id: "theme", title: "Light or dark", "aria-label": "Light or dark", onclick: turn }, "◐");
}

// Run a script that the page holds compressed.
async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (each) => each.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(el("script", {}, await new Response(plain).text()));
}
