#!/usr/bin/env python3
"""Whole encoders beside other engines, in turns in one process: scripts/bench-peers prepares what this needs.

    bench/peers.py --build build/release --tokenizer MODEL --work FOLDER [--shapes ...] [--cases ...] [--out FILE]

Models have random weights of a given shape; dense and 2:4, float and int8 by calibration. Every engine runs every case in
each round, the order turning from round to round; the first runs of a turn warm it up and do not count. A figure is the
median of all counted runs; a ratio is the best dense peer's over ours, the median over rounds with its quartiles.
Times start with token ids and end with the result: embedding and pooling are included. twofour packs sequences without
padding; the others get the padded arrays that they ask for.
"""

import argparse
import ctypes
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
SHAPES = {"minilm-l6": (6, 384, 12, 1536), "bert-base": (12, 768, 12, 3072), "bert-large": (24, 1024, 16, 4096)}
CASES = ["1x16", "1x32", "1x128", "8x32", "16x128", "32xmixed"]
# Model, precision of products with float weights, precision of attention.
OURS = {"twofour f32": ("dense", "f32", "f32"), "twofour 2:4 f32": ("sparse1", "f32", "f32"),
        "twofour bf16": ("dense", "bf16", "bf16"), "twofour 2:4 bf16": ("sparse1", "bf16", "bf16"),
        "twofour 2:4 bf16, r=2": ("sparse2", "bf16", "bf16"), "twofour int8": ("dense-int8", "f32", "f32"),
        "twofour int8, bf16 attention": ("dense-int8", "f32", "bf16"),
        "twofour int8, int8 attention": ("dense-int8", "f32", "int8"), "twofour 2:4 int8": ("sparse1-int8", "f32", "f32"),
        "twofour 2:4 int8, bf16 attention": ("sparse1-int8", "f32", "bf16"),
        "twofour 2:4 int8, int8 attention": ("sparse1-int8", "f32", "int8"),
        "twofour 2:4 int8, r=2": ("sparse2-int8", "f32", "f32"),
        "twofour 2:4 int8, r=2, bf16 attention": ("sparse2-int8", "f32", "bf16"),
        "twofour 2:4 int8, r=2, int8 attention": ("sparse2-int8", "f32", "int8"),
        "twofour 2:4 int8, r=4": ("sparse4-int8", "f32", "f32")}
PLOTTED = ["twofour int8", "twofour 2:4 int8", "twofour 2:4 int8, r=2", "twofour 2:4 int8, r=4"]
WARM_UPS = 2
TURN_SECONDS = 0.3
MOST_RUNS = 20


def make_model(folder, shape, tokenizer):
    """A BERT cross-encoder with random weights in Hugging Face's layout."""
    from safetensors.numpy import save_file

    layers, hidden, heads, ffn = SHAPES[shape]
    random = np.random.default_rng(1)
    tensors = {}

    def linear(name, rows, columns):
        tensors[name + ".weight"] = random.normal(0, 0.03, (rows, columns)).astype(np.float32)
        tensors[name + ".bias"] = random.normal(0, 0.01, rows).astype(np.float32)

    def norm(name):
        tensors[name + ".weight"] = np.ones(hidden, np.float32)
        tensors[name + ".bias"] = np.zeros(hidden, np.float32)

    for name, rows in (("word", 30522), ("position", 512), ("token_type", 2)):
        tensors[f"bert.embeddings.{name}_embeddings.weight"] = random.normal(0, 0.05, (rows, hidden)).astype(np.float32)
    norm("bert.embeddings.LayerNorm")
    for i in range(layers):
        layer = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            linear(layer + "attention.self." + part, hidden, hidden)
        linear(layer + "attention.output.dense", hidden, hidden)
        norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", ffn, hidden)
        linear(layer + "output.dense", hidden, ffn)
        norm(layer + "output.LayerNorm")
    linear("bert.pooler.dense", hidden, hidden)
    linear("classifier", 3, hidden)
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": hidden,
              "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": ffn, "vocab_size": 30522,
              "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
              "id2label": {"0": "0", "1": "1", "2": "2"}}
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")


def prepare(options, shape):
    """Model directories and ONNX files of one shape; what is there already is kept."""
    folder = options.work / shape
    command = [str(options.build / "bin/twofour"), "-q"]
    train = ROOT / "data/apt-search/qrels/train.tsv.zst"

    def made(target, *arguments):
        if not target.exists():
            print(f"  {' '.join(str(a) for a in arguments[:2])} -> {target.name}", file=sys.stderr)
            subprocess.run([*command, *map(str, arguments), "--out", str(target)], check=True)
        return target

    if not (folder / "dense").exists():
        make_model(folder / "dense", shape, options.tokenizer)
    for rows in (1, 2, 4):
        made(folder / f"sparse{rows}", "prune", folder / "dense", "--share-rows", rows)
    for name in ("dense", "sparse1", "sparse2", "sparse4"):
        made(folder / f"{name}-int8", "calibrate", folder / name, train, "--batches", 1)
    made(folder / "dense.onnx", "export", folder / "dense")
    for target in ("onnxruntime", "openvino"):
        for name in ("dense", "sparse1"):
            made(folder / f"{name}-int8-{target}.onnx", "export", folder / f"{name}-int8", "--target", target)
    return folder


class Batch:
    def __init__(self, case):
        random = np.random.default_rng(7)
        count, tokens = case.split("x", 1)
        count = int(count)
        lengths = random.integers(8, 65, count) if tokens == "mixed" else np.full(count, int(tokens))
        self.lengths = lengths
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        self.ids = random.integers(1000, 30000, self.offsets[-1]).astype(np.int32)
        self.types = np.zeros_like(self.ids)
        self.mask = (np.arange(lengths.max())[None] < lengths[:, None]).astype(np.int64)
        self.padded = np.zeros_like(self.mask)
        self.padded[self.mask == 1] = self.ids

    def inputs(self):
        return {"input_ids": self.padded, "attention_mask": self.mask, "token_type_ids": np.zeros_like(self.padded)}


def twofour(library, model, precision, attention, threads):
    os.environ["TWOFOUR_PRECISION"] = precision
    os.environ["TWOFOUR_ATTENTION"] = attention
    api = ctypes.CDLL(str(library))
    for name in ("twofour_engine_load", "twofour_session_create"):
        getattr(api, name).restype = ctypes.c_void_p
    api.twofour_last_error.restype = ctypes.c_char_p
    engine = api.twofour_engine_load(str(model).encode(), None)
    session = engine and api.twofour_session_create(ctypes.c_void_p(engine), threads)
    if not session:
        raise RuntimeError(api.twofour_last_error().decode())

    def bind(batch):
        output = np.zeros((len(batch.lengths), 3), np.float32)
        arguments = [ctypes.c_void_p(session), *(ctypes.c_void_p(a.ctypes.data) for a in
                                                 (batch.ids, batch.types, batch.offsets)),
                     ctypes.c_size_t(len(batch.lengths)), ctypes.c_void_p(output.ctypes.data),
                     ctypes.c_size_t(output.size)]

        def run():
            if api.twofour_session_run_tokens(*arguments) != 0:
                raise RuntimeError(api.twofour_last_error().decode())
            return output
        return run
    return bind


def onnxruntime_peer(path, threads):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda batch: (lambda inputs=batch.inputs(): session.run(None, inputs)[0])


def openvino_peer(path, threads, **properties):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **properties}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda batch: (lambda inputs=batch.inputs(): request.infer(inputs)[0])


def torch_peer(folder, kind, threads):
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(threads)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "dense").eval()
    if kind == "int8":
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)

    def bind(batch):
        inputs = {name: torch.from_numpy(array) for name, array in batch.inputs().items()}

        def run():
            torch.set_num_threads(threads)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
                return model(**inputs).logits.float().numpy()
        return run
    return bind


def dynamic_int8(folder):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "dense-dynamic.onnx"
    if not path.exists():
        quantize_dynamic(folder / "dense.onnx", path, weight_type=QuantType.QInt8, per_channel=True)
    return path


def peers(folder, options, threads):
    """Name to (engine, whether it runs the dense model)."""
    found = {
        "ORT f32": (lambda: onnxruntime_peer(folder / "dense.onnx", threads), True),
        "ORT int8 dynamic": (lambda: onnxruntime_peer(dynamic_int8(folder), threads), True),
        "ORT int8 Q/DQ": (lambda: onnxruntime_peer(folder / "dense-int8-onnxruntime.onnx", threads), True),
        "OpenVINO f32": (lambda: openvino_peer(folder / "dense.onnx", threads, INFERENCE_PRECISION_HINT="f32"), True),
        "OpenVINO bf16": (lambda: openvino_peer(folder / "dense.onnx", threads, INFERENCE_PRECISION_HINT="bf16"), True),
        "OpenVINO int8 Q/DQ": (lambda: openvino_peer(folder / "dense-int8-openvino.onnx", threads,
                                                     INFERENCE_PRECISION_HINT="f32"), True),
        "OpenVINO int8 Q/DQ, bf16 rest": (lambda: openvino_peer(folder / "dense-int8-openvino.onnx", threads,
                                                                INFERENCE_PRECISION_HINT="bf16"), True),
        "OpenVINO 2:4 int8, sparse option": (lambda: openvino_peer(folder / "sparse1-int8-openvino.onnx", threads,
                                                                   INFERENCE_PRECISION_HINT="f32",
                                                                   CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE=0.4), False),
    }
    if options.pytorch:
        for kind in ("f32", "bf16", "int8"):
            found[f"PyTorch {kind}"] = (lambda kind=kind: torch_peer(folder, kind, threads), True)
    return found


def load_engines(folder, options, threads):
    library = options.build / "lib/libtwofour.so.0"
    engines, dense_peers, failed = {}, [], {}
    makers = {name: (lambda model=model, floats=floats: twofour(library, folder / model, *floats, threads), False)
              for name, (model, *floats) in OURS.items()}
    makers.update(peers(folder, options, threads))
    for name, (make, dense) in makers.items():
        try:
            engines[name] = make()
            if dense:
                dense_peers.append(name)
        except Exception as error:  # a peer that cannot run here is a row without figures
            failed[name] = str(error).splitlines()[0]
    return engines, dense_peers, failed


def measure(engines, batch, rounds):
    """Name to the milliseconds of its runs, by round."""
    runs = {name: bind(batch) for name, bind in engines.items()}
    names = list(runs)
    found = {name: [] for name in names}
    for turn in range(rounds):
        order = names[turn % len(names):] + names[:turn % len(names)]
        for name in order if turn % 2 == 0 else reversed(order):
            times = []
            for i in range(WARM_UPS + MOST_RUNS):
                start = time.perf_counter()
                runs[name]()
                times.append(1e3 * (time.perf_counter() - start))
                if i > WARM_UPS and sum(times[WARM_UPS:]) > 1e3 * TURN_SECONDS:
                    break
            found[name].append(times[WARM_UPS:])
    return found


def quartiles(values):
    return [float(np.quantile(values, q)) for q in (0.25, 0.5, 0.75)]


def summarize(found, dense_peers):
    medians = {name: statistics.median(sum(rounds, [])) for name, rounds in found.items()}
    best = min(dense_peers, key=medians.get)
    rows = []
    for name, rounds in found.items():
        times = quartiles(sum(rounds, []))
        ratios = quartiles([statistics.median(peer) / statistics.median(own)
                            for peer, own in zip(found[best], rounds)])
        rows.append({"engine": name, "ms": times[1], "spread": (times[2] - times[0]) / times[1],
                     "ratio": ratios[1], "ratio_low": ratios[0], "ratio_high": ratios[2]})
    return {"best_dense_peer": best, "rows": rows}


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def versions():
    from importlib import metadata

    names = ("onnxruntime", "openvino", "torch", "numpy")
    return {name: metadata.version(name) for name in names
            if any(d.metadata["Name"] == name for d in metadata.distributions())}


def cell(row, best):
    """Milliseconds, and how many times as fast as the best dense peer; that one is bold."""
    if row["engine"] == best:
        return f"**{row['ms']:.2f}**"
    return f"{row['ms']:.2f} ({row['ratio']:.2f}x, {row['ratio_low']:.2f} .. {row['ratio_high']:.2f})"


def print_table(result):
    for group in result["groups"]:
        print(f"\n**{group['shape']}, {group['threads']} thread{'s' if group['threads'] > 1 else ''}**: milliseconds "
              "(times as fast as the best dense peer, which is bold; quartiles)\n")
        cases = group["cases"]
        print("| engine | " + " | ".join(cases) + " |\n|---|" + "---|" * len(cases))
        for engine in [row["engine"] for row in next(iter(cases.values()))["rows"]]:
            cells = [cell(next(r for r in case["rows"] if r["engine"] == engine), case["best_dense_peer"])
                     for case in cases.values()]
            print(f"| {engine} | " + " | ".join(cells) + " |")
        for engine, error in group["failed"].items():
            print(f"| {engine} | does not run: {error} |")


def plot(result, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    groups = result["groups"]
    figure, axes = pyplot.subplots(len(groups), 1, figsize=(10, 3.2 * len(groups)), squeeze=False)
    for axis, group in zip(axes[:, 0], groups):
        cases = group["cases"]
        for i, name in enumerate(PLOTTED):
            rows = [next(r for r in case["rows"] if r["engine"] == name) for case in cases.values()]
            errors = [[r["ratio"] - r["ratio_low"] for r in rows], [r["ratio_high"] - r["ratio"] for r in rows]]
            axis.bar(np.arange(len(cases)) + 0.2 * (i - 1.5), [r["ratio"] for r in rows], 0.18, yerr=errors, label=name)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_xticks(np.arange(len(cases)), list(cases))
        axis.set_ylabel("times the best dense peer")
        axis.set_title(f"{group['shape']}, {group['threads']} thread{'s' if group['threads'] > 1 else ''}", fontsize=10)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=8, ncols=len(PLOTTED), loc="lower center")
    figure.tight_layout(rect=(0, 0.1 / len(groups), 1, 1))
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="model directory to take tokenizer files from")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for models; what is there is used again")
    parser.add_argument("--shapes", default="minilm-l6,bert-base,bert-large")
    parser.add_argument("--cases", default=",".join(CASES), help="BATCHxTOKENS; 'mixed' for lengths from 8 to 64")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--pytorch", action="store_true", help="PyTorch too (torch and transformers must be installed)")
    parser.add_argument("--out", type=pathlib.Path, help="JSON file; the plot goes beside it")
    options = parser.parse_args()

    result = {"machine": processor(), "date": datetime.date.today().isoformat(), "versions": versions(), "groups": []}
    for shape in options.shapes.split(","):
        if shape not in SHAPES:
            sys.exit(f"unknown shape {shape} (known: {', '.join(SHAPES)})")
        folder = prepare(options, shape)
        for threads in map(int, options.threads.split(",")):
            engines, dense_peers, failed = load_engines(folder, options, threads)
            cases = {case: summarize(measure(engines, Batch(case), options.rounds), dense_peers)
                     for case in options.cases.split(",")}
            result["groups"].append({"shape": shape, "threads": threads, "cases": cases, "failed": failed})
    print(f"{result['machine']}, {os.cpu_count()} processors, "
          + ", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    print_table(result)
    if options.out:
        partial = options.out.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1))
        partial.rename(options.out)
        plot(result, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
