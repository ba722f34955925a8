const bench = pageData;
const asIf = bench.results[0], scheme = bench.as_if;
const layerName = (layer) => `${layer.count} × [${layer.n}, ${layer.k}]`;
const what = scheme.scheme === "int8" ? "int8"
  : `2:4 int8${scheme.share_rows > 1 ? `, ${scheme.share_rows} rows share a pattern` : ""}`;

function tableCard(titles, rows) {
  const left = (i) => (i === 0 ? { class: "left" } : {});
  return el("div", { class: "card scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...titles.map((title, i) => el("th", left(i), title)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, i) => el("td", left(i), cell)))))));
}

const quartiles = (r) => `${r.ratio.toFixed(2)} (${r.ratio_low.toFixed(2)} – ${r.ratio_high.toFixed(2)})`;

// Two bars for each name.
function barCard(title, unit, names, dense, changed) {
  return chartCard(title, [title], () => ({
    type: "bar",
    data: { labels: names, datasets: [
      { label: "as it is", data: dense, backgroundColor: palette[9] },
      { label: what, data: changed, backgroundColor: palette[0] },
    ] },
    options: {
      animation: false, maintainAspectRatio: false, responsive: true, indexAxis: "y",
      scales: { x: { ...chartAxis(unit), beginAtZero: true }, y: { ...chartAxis(""), grid: { display: false } } },
      plugins: {
        legend: chartLegend(true),
        tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${item.parsed.x.toFixed(2)} ms` } },
      },
    },
  }));
}

const shape = (r) => `${r.batch} × ${r.tokens}, ${r.threads} thr.`;
main.append(el("h1", {}, `As if ${what}`), el("p", { class: "note" },
  `${bench.model} · ${bench.cpu} · ${bench.kernels.join(", ")} · the model as it is: ${bench.against_kernels.join(", ")}`),
el("p", { class: "note" }, `The weights were ${scheme.note}.`));
section("Whole model", "Milliseconds of a batch, batch × tokens and threads; in turns, medians, times faster with quartiles over pairs of runs.",
  el("div", { class: "grid" },
    barCard("Latency", "ms", bench.results.map(shape), bench.results.map((r) => r.against.median_ms), bench.results.map((r) => r.median_ms)),
    tableCard(["case", "as it is, ms", "as if, ms", "times faster"], bench.results.map((r) =>
      [shape(r), r.against.median_ms.toFixed(2), r.median_ms.toFixed(2), quartiles(r.against)]))));
section("Layers", `Products alone at ${shape(asIf)}, all layers of a shape [outputs, inputs] together; the share is that of the model's time as it is.`,
  el("div", { class: "grid" },
    barCard("Products", "ms", bench.layers.map(layerName), bench.layers.map((l) => l.count * l.dense_ms), bench.layers.map((l) => l.count * l.as_if_ms)),
    tableCard(["layers", "as it is, ms", "as if, ms", "times faster", "share %"], bench.layers.map((l) =>
      [layerName(l), (l.count * l.dense_ms).toFixed(2), (l.count * l.as_if_ms).toFixed(2), quartiles(l), (l.share * 100).toFixed(1)]))));
main.append(el("footer", {}, `twofour ${bench.version}. Weights in memory: ${(bench.against_memory_bytes / 1e6).toFixed(1)} MB as it is, ` +
  `${(bench.memory_bytes / 1e6).toFixed(1)} MB ${what}. MB are 10^6 bytes.`));
drawCharts();
