const report = pageData;
const runs = report.runs;
runs.forEach((run, i) => { run.color = palette[i % palette.length]; });
const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1);
const significant = (value) => {
  if (!Number.isFinite(value)) return String(value);
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(4);
};

function runLabel(run) {
  return [el("span", { class: "swatch", style: `background:${run.color}` }), run.name];
}

// The head of a metric's column says what the metric is.
function metricHead(name) {
  return el("th", report.notes[name] ? { title: report.notes[name], class: "explained" } : {}, name);
}

// JSON has no infinity: a PNR without discordant pairs is null there, and "inf" wherever it is printed.
function metricOf(evaluation, name) {
  const value = evaluation && evaluation.metrics ? evaluation.metrics[name] : undefined;
  return value === null && name === "pnr" ? Infinity : value;
}
const printMetric = (value) => (value === Infinity ? "inf" : value.toFixed(4));

function unfinished(run) {
  return run.unfinished ? [el("small", { title: run.unfinished.resume }, run.unfinished.status)] : [];
}

// --- the table of runs ---

function weightsOf(run) {
  return run.model ? `${run.model.int8 ? "int8" : "float"}, ${run.model.kind}` : null;
}

function benchRow(run) {
  return run.bench && run.bench.results && run.bench.results.length ? run.bench.results[0] : null;
}

function metricNames() {
  const names = new Set();
  for (const run of runs) {
    for (const name of Object.keys((run.eval && run.eval.metrics) || {})) if (name !== "pnr_ties") names.add(name);
  }
  return [...names];
}

// Distances, losses and errors are better when they are lower.
function betterIs(name) {
  return /^(frechet|masked_loss|smare)/.test(name) ? -1 : 1;
}

// Of the model beside the run, or as it was when it was evaluated: results are kept without models.
function sizeOf(name) {
  return (run) => (run.model || run.eval || {})[name];
}

// Columns of the table: value of a run, how to print it, whether more is better (for the sign of a difference).
function runColumns() {
  const evaluated = (pick) => (run) => (run.eval ? pick(run.eval) : null);
  const recipeDiffers = runs.some((run) => run.recipe && run.recipe !== run.name);
  const columns = [
    { title: "recipe", left: true, value: (run) => (recipeDiffers ? run.recipe : null) },
    { title: "weights", left: true, value: weightsOf },
    { title: "file MB", value: sizeOf("weight_file_bytes"), print: megabytes, better: -1 },
    { title: "matrices MB", value: sizeOf("matrix_bytes_now"), print: megabytes, better: -1 },
  ];
  for (const name of metricNames()) {
    columns.push({ title: name, metric: name, value: (run) => metricOf(run.eval, name), print: printMetric, better: betterIs(name) });
  }
  columns.push({ title: "queries/s", value: evaluated((e) => (e.seconds > 0 ? e.queries / e.seconds : null)), print: (value) => value.toFixed(2), better: 1 });
  columns.push({ title: "pairs/s", value: evaluated((e) => e.pairs_per_second), print: speed, better: 1 });
  const first = runs.map(benchRow).find(Boolean);
  if (first) {
    const same = (row) => row.batch === first.batch && row.tokens === first.tokens && row.threads === first.threads;
    const title = `ms, ${first.batch}×${first.tokens}, ${first.threads} thr.`;
    columns.push({ title, better: -1, print: (v) => v.toFixed(2),
      value: (run) => { const row = run.bench && run.bench.results.find(same); return row ? row.median_ms : null; } });
  }
  return columns.filter((column) => runs.some((run) => column.value(run) != null));
}

function difference(column, run, first = runs[0]) {
  const value = column.value(run), base = column.value(first);
  if (!column.better || run === first || base == null || !base) return "";
  // Of an infinite one all is lost; what it gains has no share.
  const percent = value === base ? 0 : base === Infinity ? -100 : (value / base - 1) * 100;
  if (!Number.isFinite(percent)) return "";
  if (Math.abs(percent) < 0.05) return el("small", {}, "0.0 %");
  const good = Math.sign(percent) === column.better;
  const signed = (v) => `${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v).toFixed(Math.abs(v) < 100 ? 1 : 0)}`;
  const interval = column.metric && run.differences && run.differences[column.metric];
  const unclear = interval && interval.low <= 0 && interval.high >= 0;
  const note = el("small", unclear ? {} : { class: good ? "better" : "worse" }, `${signed(percent)} %`);
  if (interval) note.append(el("br", {}), `${signed(interval.low * 100)} .. ${signed(interval.high * 100)}`);
  return note;
}

function runTable() {
  const columns = runColumns();
  const head = el("tr", {}, el("th", { class: "left" }, "run"),
    ...columns.map((column) => (column.metric ? metricHead(column.title) : el("th", column.left ? { class: "left" } : {}, column.title))));
  const rows = runs.map((run) => el("tr", {}, el("td", { class: "left" }, ...runLabel(run), ...unfinished(run)), ...columns.map((column) => {
    const value = column.value(run);
    if (value == null) return el("td", { class: column.left ? "none left" : "none" }, "–");
    return el("td", column.left ? { class: "left" } : {}, column.print ? column.print(value) : value, difference(column, run));
  })));
  return el("div", { class: "card scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

// --- further sets of data ---

function setTable(set) {
  const names = [...new Set(set.runs.flatMap((run) => Object.keys((run.eval && run.eval.metrics) || {})))]
    .filter((name) => name !== "pnr_ties");
  const base = set.runs[0];
  const head = el("tr", {}, el("th", { class: "left" }, "run"), ...names.map(metricHead));
  const rows = set.runs.map((run, i) => [run, i]).filter(([run]) => run.eval).map(([run, i]) => el("tr", {},
    el("td", { class: "left" }, ...runLabel(runs[i])), ...names.map((name) => {
      const value = metricOf(run.eval, name);
      if (value == null) return el("td", { class: "none" }, "–");
      const column = { metric: name, better: betterIs(name), value: (of) => metricOf(of.eval, name) };
      return el("td", {}, printMetric(value), difference(column, run, base));
    })));
  return el("div", { class: "card scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

function setNote(set) {
  const of = set.runs.map((run) => run.eval).find(Boolean);
  return of ? `${of.queries} queries, ${of.pairs} pairs of ${of.data}` : "";
}

// --- queries, two rankings side by side ---

function rankingList(name, ndcg, documents, other) {
  const ids = other.map((document) => document.id);
  const rows = documents.map((document, rank) => {
    const place = ids.indexOf(document.id);
    const moved = place < 0 ? "only here" : place === rank ? "" : place > rank ? `▲ ${place - rank}` : `▼ ${rank - place}`;
    const judged = document.label != null;
    return el("li", {}, el("span", { class: `label label${judged ? Math.min(3, Math.max(0, Math.round(document.label))) : "none"}` },
      judged ? String(document.label) : "?"), el("span", { class: "text" }, document.text || document.id),
    el("small", {}, moved));
  });
  return el("div", {}, el("h4", {}, name, el("small", {}, ` ndcg@10 ${ndcg.toFixed(3)}`)), el("ol", {}, ...rows));
}

function queryCard(query, names) {
  const change = query.ndcg[1] - query.ndcg[0];
  const summary = el("summary", {}, el("b", {}, query.text), el("small", { class: change < 0 ? "worse" : "better" },
    ` ${query.ndcg[0].toFixed(3)} → ${query.ndcg[1].toFixed(3)}`));
  return el("details", { class: "card query" }, summary, el("div", { class: "sides" },
    ...[0, 1].map((side) => rankingList(names[side], query.ndcg[side], query.rankings[side], query.rankings[1 - side]))));
}

function queryCards(title, queries, names, none) {
  const cards = queries.map((query) => queryCard(query, names));
  if (cards.length) cards[0].setAttribute("open", "");
  return el("div", { class: "queries" }, el("h3", {}, title), ...(cards.length ? cards : [el("p", { class: "note" }, none)]));
}

// --- charts ---

// Metrics but PNR, and errors, end at 1.
const topOf = (name) => (name === "pnr" || betterIs(name) < 0 ? undefined : 1);

function chartOptions(xTitle, yTitle, datasets, top) {
  const points = datasets.flatMap((dataset) => dataset.data);
  const x = { ...chartAxis(xTitle), ...flatRange(points.map((point) => point.x)) };
  if (xTitle === "step") x.ticks = { ...x.ticks, precision: 0 };
  return {
    animation: false, maintainAspectRatio: false, responsive: true, parsing: false,
    interaction: { mode: "nearest", axis: "x", intersect: false },
    scales: { x: { type: "linear", ...x }, y: { ...chartAxis(yTitle), ...flatRange(points.map((point) => point.y), top) } },
    plugins: {
      legend: chartLegend(runs.length > 1),
      tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${significant(item.parsed.y)}` } },
    },
  };
}

function curveChart(title, views, key, yTitle) {
  return chartCard(title, views, (view) => {
    const datasets = runs.filter((run) => run.curves[key(view)]).map((run) => {
      const points = run.curves[key(view)];
      return {
        label: run.name, data: points.map(([x, y]) => ({ x, y })), borderColor: run.color, backgroundColor: run.color,
        borderWidth: 1.8, pointRadius: points.length > 40 ? 0 : 2.5, pointHitRadius: 6, tension: 0,
      };
    });
    const top = key(view).startsWith("metric:") ? topOf(view) : undefined;
    return { type: "line", data: { datasets }, options: chartOptions("step", yTitle(view), datasets, top) };
  });
}

function curveCards() {
  const has = (key) => runs.some((run) => run.curves[key]);
  const cards = [];
  if (has("loss")) cards.push(curveChart("Training loss", ["loss"], (v) => v, () => "loss"));
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))].filter((key) => key.startsWith("metric:"))
    .map((key) => key.slice(7));
  if (names.length) {
    names.sort((a, b) => b.startsWith("ndcg") - a.startsWith("ndcg"));
    cards.push(curveChart("Development metrics", names, (v) => "metric:" + v, (v) => v));
  }
  if (has("lr")) cards.push(curveChart("Learning rate", ["lr"], (v) => v, () => "rate"));
  if (has("pairs_per_second")) cards.push(curveChart("Training speed", ["pairs/s"], () => "pairs_per_second", () => "pairs/s"));
  return cards;
}

// Accuracy beside speed: one point for each run that has both. Speeds are the engine's where every model was timed, else
// those of the evaluations: the two do not compare.
function tradeoff() {
  const withMetrics = runs.filter((run) => run.eval && run.eval.metrics && (benchRow(run) || run.eval.pairs_per_second));
  const timed = withMetrics.every(benchRow);
  const at = (run) => (timed ? benchRow(run).sequences_per_second : run.eval.pairs_per_second);
  const evaluated = withMetrics.filter(at);
  const names = metricNames().sort((a, b) => b.startsWith("ndcg") - a.startsWith("ndcg"));
  if (!evaluated.length || !names.length) return null;
  const unit = timed ? "sequences/s" : "pairs/s, with tokenizing";
  return chartCard("Accuracy beside speed", names, (view) => {
    const datasets = evaluated.filter((run) => Number.isFinite(run.eval.metrics[view])).map((run) => ({
      label: run.name, data: [{ x: at(run), y: run.eval.metrics[view] }], backgroundColor: run.color,
      borderColor: run.color, pointRadius: 7, pointHoverRadius: 9,
    }));
    const options = chartOptions(unit, view, datasets, topOf(view));
    options.interaction = { mode: "nearest", intersect: true };
    options.scales.x.grace = "10%";
    options.scales.y.grace = "20%";
    options.plugins.legend.display = true;
    options.plugins.tooltip.callbacks.label = (item) =>
      `${item.dataset.label}: ${significant(item.parsed.y)} at ${speed(item.parsed.x)}/s`;
    return { type: "scatter", data: { datasets }, options };
  });
}

// --- sparsity by layer ---

const shortNames = {
  "attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value",
  "attention.output.dense": "att. out", "intermediate.dense": "ffn in", "output.dense": "ffn out",
};

function layerTitle(layer) {
  return `${layer.name}\n[${layer.n}, ${layer.k}] ${layer.type}, ${(layer.sparsity * 100).toFixed(1)} % zeros\n` +
    `${(layer.groups_2_4 * 100).toFixed(1)} % of groups are 2:4, rows share by ${layer.share_rows}\n${megabytes(layer.bytes_now)} MB`;
}

function sparsityCard(run) {
  const rows = new Map(), columns = [], others = [];
  for (const layer of run.model.layers) {
    const match = /^encoder\.layer\.(\d+)\.(.+)$/.exec(layer.name);
    if (!match) { others.push(layer); continue; }
    if (!rows.has(match[1])) rows.set(match[1], new Map());
    rows.get(match[1]).set(match[2], layer);
    if (!columns.includes(match[2])) columns.push(match[2]);
  }
  const head = el("tr", {}, el("th", {}, "layer"),
    ...columns.map((name) => el("th", { title: name }, shortNames[name] || name)));
  const body = [...rows].map(([index, layers]) => el("tr", {}, el("th", {}, index), ...columns.map((name) => {
    const layer = layers.get(name);
    if (!layer) return el("td", { class: "empty" }, "");
    return el("td", { style: `--share:${(0.06 + layer.sparsity * 0.9).toFixed(3)}`, title: layerTitle(layer) },
      (layer.sparsity * 100).toFixed(0));
  })));
  const card = el("div", { class: "card" }, el("div", { class: "head" }, el("h3", {}, ...runLabel(run)),
    el("small", { class: "note" }, run.model.pattern)), el("table", { class: "heat" }, head, ...body));
  if (others.length) {
    card.append(el("ul", { class: "others" }, ...others.map((layer) =>
      el("li", { title: layerTitle(layer) }, `${layer.name}: ${(layer.sparsity * 100).toFixed(0)}`))));
  }
  return card;
}

// --- latency ---

function latencyTable() {
  const titles = ["batch", "tokens", "threads", "median ms", "p95 ms", "spread %", "sequences/s"];
  const compared = runs.some((run) => run.bench && run.bench.results.some((row) => row.against));
  if (compared) titles.push("times as fast as bench --against");
  const rows = runs.filter((run) => run.bench).flatMap((run) => run.bench.results.map((row, i) => {
    const cells = [row.batch, row.tokens, row.threads, row.median_ms.toFixed(2), row.p95_ms.toFixed(2),
      row.spread == null ? "–" : (row.spread * 100).toFixed(1), speed(row.sequences_per_second)];
    if (compared) {
      const a = row.against;
      cells.push(a ? `${a.ratio.toFixed(2)} (${a.ratio_low.toFixed(2)} – ${a.ratio_high.toFixed(2)})` : "–");
    }
    return el("tr", {}, el("td", { class: "left" }, ...(i ? [""] : runLabel(run))), ...cells.map((cell) => el("td", {}, String(cell))));
  }));
  const head = el("tr", {}, el("th", { class: "left" }, "run"), ...titles.map((title) => el("th", {}, title)));
  return el("div", { class: "card scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

// --- the page ---

function subtitle() {
  const parts = [runs.length === 1 ? "1 run" : `${runs.length} runs`];
  const data = [...new Set(runs.filter((run) => run.eval).map((run) => `${run.eval.queries} queries, ${run.eval.pairs} pairs of ${run.eval.data}`))];
  if (data.length === 1) parts.push(data[0]);
  const cpus = [...new Set(runs.filter((run) => run.bench).map((run) => run.bench.cpu))];
  if (cpus.length) parts.push(cpus.join(", "));
  return parts.join(" · ");
}

main.append(el("h1", {}, report.title), el("p", { class: "note" }, subtitle()));
const intervals = runs.some((run) => run.differences) ? ", and its 95 % interval (paired bootstrap over queries)" : "";
section("Runs", runs.length > 1 ? `Small figures: difference against ${runs[0].name} in %${intervals}.` : "", runTable());
if (Object.keys(report.notes).length) {
  main.append(el("details", { class: "notes" }, el("summary", {}, "What the metrics are"),
    el("dl", {}, ...Object.entries(report.notes).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]))));
}
for (const run of runs) {
  if (run.unfinished) main.append(el("p", { class: "note below" }, `${run.name}: ${run.unfinished.status}. ${run.unfinished.resume}`));
}
for (const set of report.sets) section(set.name, setNote(set), setTable(set));
if (report.picture) {
  const { source, caption } = report.picture;
  section("Pictures", caption, el("div", { class: "card scroll" }, el("img", { src: source, alt: caption })));
}
const beside = tradeoff();
if (beside) section("Accuracy and speed", "", beside);
if (report.queries) {
  const { runs: names, worst, best, queries, lost, won, data } = report.queries;
  section("Queries", `Queries of ${data} with a positive label: ${queries}. From ${names[0]} to ${names[1]} lost ndcg@10: ${lost}, won: ${won}, ` +
    `neither: ${queries - lost - won}. A document's label stands before it, behind it how far it moved against the other ranking.`,
  el("div", { class: "grid" }, queryCards("Lost most", worst, names, "No query loses."),
    queryCards("Won most", best, names, "No query wins.")));
}
const curves = curveCards();
if (curves.length) section("Training", "", el("div", { class: "grid" }, ...curves));
const modelled = runs.filter((run) => run.model);
if (modelled.length) {
  section("Sparsity by layer", "Share of zeros in each matrix, in %. Point at a cell for shape, type and bytes.",
    el("div", { class: "grid narrow" }, ...modelled.map(sparsityCard)));
}
if (runs.some((run) => run.bench)) {
  section("Latency", "Batches of random tokens through the engine; spread is the interquartile range over the median.", latencyTable());
}
main.append(el("footer", {}, `twofour ${report.version}. MB are 10^6 bytes. queries/s, pairs/s: of twofour eval (and train), with tokenizing; ` +
  "sequences/s: of twofour bench, of random tokens."));
drawCharts();
