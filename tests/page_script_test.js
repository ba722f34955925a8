#!/usr/bin/env node
// What the script of a report's page draws, on a document of its own that holds no more than the script asks for.
//   page_script_test.js TWOFOUR
"use strict";
const assert = require("assert");
const { execFileSync } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const vm = require("vm");

class Node {
  constructor(tag) { Object.assign(this, { tag, attributes: {}, children: [] }); }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  append(...children) { this.children.push(...children); }
  addEventListener() {}
  get textContent() { return this.children.map((child) => (child instanceof Node ? child.textContent : String(child))).join(""); }
  set textContent(text) { this.children = text ? [text] : []; }
  all(tag) {
    return this.children.filter((child) => child instanceof Node)
      .flatMap((child) => [...(child.tag === tag ? [child] : []), ...child.all(tag)]);
  }
}

// The main element, and the configuration of each chart.
function draw(page) {
  const html = fs.readFileSync(page, "utf8");
  const data = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(html)[1];
  const script = html.slice(html.lastIndexOf("<script>") + 8, html.lastIndexOf("</script>"));
  const main = new Node("main"), charts = [];
  vm.runInNewContext(script, {
    document: {
      createElement: (tag) => new Node(tag), documentElement: null, querySelector: () => main,
      getElementById: () => ({ textContent: data }),
    },
    getComputedStyle: () => ({ getPropertyValue: () => "" }),
    matchMedia: () => ({ addEventListener() {} }),
    Chart: function Chart(canvas, configuration) { charts.push(configuration); },
  });
  return { main, charts };
}

const [, , twofour] = process.argv;
const root = path.join(__dirname, "..");
const work = fs.mkdtempSync(path.join(os.tmpdir(), "twofour-page-"));

// A run whose log has one step.
function makeRun(name, evaluation) {
  const run = path.join(work, name);
  fs.mkdirSync(run);
  const rows = [
    { kind: "stage", step: 0, stage: "dense", steps: 1 }, { kind: "step", step: 1, loss: 0, lr: 1e-4, pairs_per_second: 250 },
    { kind: "evaluation", step: 1, metrics: { "ndcg@10": 0.75, pnr: 3 } },
  ];
  fs.writeFileSync(path.join(run, "log.jsonl"), rows.map((row) => JSON.stringify(row) + "\n").join(""));
  fs.cpSync(path.join(root, "tests/golden/cross-encoder/model"), path.join(run, "model"), { recursive: true });
  if (evaluation) fs.writeFileSync(path.join(run, "eval.json"), JSON.stringify(evaluation));
  return run;
}

function report(...runs) {
  const page = path.join(work, "page.html");
  execFileSync(twofour, ["report", ...runs, "--out", page], { stdio: ["ignore", "ignore", "pipe"] });
  return draw(page);
}

// A frame of one raw block: less than 256 bytes.
function zstd(text) {
  const content = Buffer.from(text), block = 1 | content.length << 3;
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, content.length, block & 255, block >> 8, 0]), content]);
}

function axis(charts, which, title) {
  const chart = charts.find((one) => one.options.scales[which].title.text === title);
  assert(chart, `no chart of ${title}`);
  const { min, max, suggestedMin, suggestedMax } = chart.options.scales[which];
  return { min, max, suggestedMin, suggestedMax };
}

const tests = {
  "axes of one point start at 0 and hold it"() {
    const { charts } = report(makeRun("one", { queries: 2, pairs: 4, pairs_per_second: 500, metrics: { "ndcg@10": 0.5, pnr: null } }));
    const bounds = (min, max, suggestedMin, suggestedMax) => ({ min, max, suggestedMin, suggestedMax });
    assert.deepStrictEqual(axis(charts, "x", "step"), bounds(0, undefined, undefined, 2));
    assert.deepStrictEqual(axis(charts, "y", "loss"), bounds(0, undefined, undefined, 1));
    assert.deepStrictEqual(axis(charts, "y", "rate"), bounds(0, undefined, undefined, 2e-4));
    assert.deepStrictEqual(axis(charts, "y", "ndcg@10"), bounds(0, 1, undefined, undefined));
    assert.deepStrictEqual(axis(charts, "x", "pairs/s, with tokenizing"), bounds(0, undefined, undefined, 1000));
  },
  "differences of 0 have no sign, and a PNR without discordant pairs is inf"() {
    const evaluation = { queries: 2, pairs: 4, pairs_per_second: 500, metrics: { "ndcg@10": 0.5, pnr: null } };
    const { main } = report(makeRun("a", evaluation), makeRun("b", { ...evaluation, metrics: { "ndcg@10": 0.50001, pnr: 2 } }));
    const cells = main.all("table")[0].all("tr").map((row) => row.children.map((cell) => cell.textContent));
    const column = (name) => cells.map((row) => row[cells[0].indexOf(name)]);
    assert.deepStrictEqual(column("ndcg@10"), ["ndcg@10", "0.5000", "0.50000.0 %"]);
    assert.deepStrictEqual(column("pnr"), ["pnr", "inf", "2.0000−100 %"]);
    assert.deepStrictEqual(column("pairs/s"), ["pairs/s", "500", "5000.0 %"]);
  },
  "heads of metrics say what they are"() {
    const { main } = report(makeRun("noted", { metrics: { "f1@345": 0.5, other: 1 } }));
    const head = (name) => main.all("th").find((cell) => cell.textContent === name).attributes;
    assert.match(head("f1@345").title, /a classifier by the label that it predicts/);
    assert.strictEqual(head("other").title, undefined);
    assert.match(main.all("details")[0].textContent, /score.*expected label/s);
  },
  "a run that has not finished says so in its row"() {
    const run = makeRun("unfinished");
    fs.rmSync(path.join(run, "model"), { recursive: true });
    const { main } = report(run);
    assert.match(main.all("table")[0].textContent, /unfinished, step 1, no checkpoint/);
    assert.match(main.all("p").map((note) => note.textContent).join("\n"), /unfinished: .*--resume/);
  },
  "no winners among the queries is said"() {
    const runs = [makeRun("first"), makeRun("second")];
    const data = path.join(work, "data.tsv");
    fs.writeFileSync(data, "query_id\tquery\tdocument_id\tdocument\tlabel\nq\tone\tg\tgood\t1\nq\tone\tb\tbad\t0\n");
    runs.forEach((run, i) => fs.writeFileSync(path.join(run, "test.run.zst"),
      zstd(`q Q0 g 1 ${2 - 2 * i} t\nq Q0 b 2 1 t\n`)));
    const text = report(...runs, "--queries", data).main.textContent;
    assert.match(text, /positive label: 1\. From .* lost ndcg@10: 1, won: 0, neither: 0\./);
    assert.match(text, /Won mostNo query wins\./);
  },
};

let failed = 0;
try {
  for (const [name, test] of Object.entries(tests)) {
    try {
      test();
    } catch (error) {
      ++failed;
      console.error(`FAILED: ${name}\n${error.message}`);
    }
  }
} finally {
  fs.rmSync(work, { recursive: true });
}
process.exit(failed ? 1 : 0);
