// What the pages of report and bench share.
"use strict";
const pageData = JSON.parse(document.getElementById("data").textContent);
const palette = ["#3b78b8", "#e8862e", "#4aa564", "#d9534f", "#9a6fb8", "#3aa6a0", "#c9a227", "#d978a5", "#8c6d5a", "#7d8794", "#1f4e79", "#7a9e1f"];

// Every text goes through textContent: names and messages of runs cannot become markup.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  for (const child of children) node.append(child);
  return node;
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const main = document.querySelector("main");
main.textContent = "";  // what stands there is for readers without a script
const speed = (value) => value.toFixed(value < 100 ? 1 : 0);

function section(title, note, ...content) {
  main.append(el("h2", {}, title));
  if (note) main.append(el("p", { class: "note" }, note));
  main.append(...content);
}

const charts = [];

function chartAxis(text) {
  return {
    title: { display: true, text, color: css("--faint") },
    ticks: { color: css("--faint"), maxTicksLimit: 7, ...(text === "rate" ? { callback: (value) => String(Number(value.toPrecision(6))) } : {}) },
    grid: { color: css("--line"), drawBorder: false },
  };
}

// Bounds of an axis whose values are all one: from 0 to about twice the value, or to `top` where that holds it. Chart.js
// would take one unit to either side, which hides a rate of 0.0001 and shows a share below 0. Others are left to it.
function flatRange(values, top) {
  const low = Math.min(...values), high = Math.max(...values);
  if (!values.length || low < high) return {};
  if (high < 0) return { suggestedMin: 2 * high, max: 0 };
  return { min: 0, ...(top >= high ? { max: top } : { suggestedMax: 2 * high || 1 }) };
}

function chartLegend(display) {
  return { display, position: "bottom", labels: { color: css("--text"), boxWidth: 10, boxHeight: 10, padding: 14 } };
}

// A card with a chart; several named views get a selector. `draw(view)` returns a Chart.js configuration.
function chartCard(title, views, draw) {
  const canvas = el("canvas", {});
  const head = el("div", { class: "head" }, el("h3", {}, title));
  let view = views[0], chart = null;
  const redraw = () => {
    if (chart) chart.destroy();
    chart = new Chart(canvas, draw(view));
  };
  if (views.length > 1) {
    const select = el("select", { "aria-label": title }, ...views.map((name) => el("option", { value: name }, name)));
    select.addEventListener("change", () => { view = select.value; redraw(); });
    head.append(select);
  }
  charts.push(redraw);
  return el("div", { class: "card" }, head, el("div", { class: "plot" }, canvas));
}

// Once all cards are on the page, and again when its colors change.
function drawCharts() {
  const draw = () => charts.forEach((redraw) => redraw());
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
