#!/usr/bin/env python3
"""Bulk scoring, the offline service: a stream of query-document pairs, text in, scores out. scripts/bench-bulk prepares
what this needs.

    bench/bulk.py --build build/release --tokenizer MODEL --work FOLDER [--pairs N] [--slice N] [--threads N] [--out FILE]

Pairs are queries of data/apt-search with documents drawn at random. They are cut into slices; every engine scores every
slice, the order turning from slice to slice, and a ratio is the median over slices with its quartiles. Ours is
`twofour predict` as a process: start, load, reading, tokenizing, writing. A peer is this process, which has its model
loaded: Hugging Face's tokenizers, blocks of as many rows as `twofour predict` takes, sorted by length, padded to the
longest of a batch.
"""

import argparse
import datetime
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

import numpy as np

import peers

BLOCK = 1024  # rows that twofour predict sorts by length at a time
BATCH = 64
OURS = {"twofour int8": "dense-int8", "twofour 2:4 int8": "sparse1-int8", "twofour 2:4 int8, r=2": "sparse2-int8"}
REFERENCE = "twofour int8"


def read_jsonl(path):
    text = subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def slices(work, count, size):
    """Files of `size` pairs each, made once."""
    data = peers.ROOT / "data/apt-search"
    queries = [row["text"] for row in read_jsonl(data / "queries.jsonl.zst")]
    documents = [row["text"] for row in read_jsonl(data / "corpus.jsonl.zst")]
    folder = work / f"pairs-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range((count + size - 1) // size):
        path = folder / f"{number:04}.tsv"
        if not path.exists():
            choose = random.Random(number)
            partial = path.with_suffix(".partial")
            with open(partial, "w") as file:
                file.write("query\tdocument\n")
                file.writelines(f"{choose.choice(queries)}\t{choose.choice(documents)}\n" for _ in range(size))
            partial.rename(path)
        yield path


def twofour(build, model, threads):
    command = [build / "bin/twofour", "-q", "predict", model, "--threads", threads]

    def score(path):
        output = path.with_suffix(".scores")
        subprocess.run([*map(str, command), "--input", str(path), "--output", str(output)], check=True)
        with open(output) as file:
            rows = sum(1 for _ in file) - 1
        output.unlink()
        return rows
    return score


def peer(tokenizer_file, bind, threads):
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_truncation(128)
    tokenizer.no_padding()

    def batches(block):
        encodings = tokenizer.encode_batch([(row[0], row[1]) for row in block])
        order = sorted(range(len(block)), key=lambda i: len(encodings[i].ids))
        for begin in range(0, len(order), BATCH):
            yield [encodings[i] for i in order[begin:begin + BATCH]]

    def run(batch):
        longest = max(len(e.ids) for e in batch)
        inputs = {name: np.zeros((len(batch), longest), np.int64)
                  for name in ("input_ids", "attention_mask", "token_type_ids")}
        for i, encoding in enumerate(batch):
            width = len(encoding.ids)
            inputs["input_ids"][i, :width] = encoding.ids
            inputs["attention_mask"][i, :width] = 1
            inputs["token_type_ids"][i, :width] = encoding.type_ids
        return bind(inputs)

    def score(path):
        rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        with open(path.with_suffix(".scores"), "w") as output:
            for begin in range(0, len(rows), BLOCK):
                for batch in batches(rows[begin:begin + BLOCK]):
                    output.writelines(f"{row[-1]}\n" for row in run(batch))
        path.with_suffix(".scores").unlink()
        return len(rows)
    return score


def openvino_bind(path, threads, precision):
    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda inputs: request.infer(inputs)[0]


def onnxruntime_bind(path, threads):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def load_engines(folder, options):
    engines = {name: twofour(options.build, folder / model, options.threads) for name, model in OURS.items()}
    tokenizer = options.tokenizer / "tokenizer.json"
    binds = {"ORT int8 Q/DQ": lambda: onnxruntime_bind(folder / "dense-int8-onnxruntime.onnx", options.threads),
             "ORT int8 dynamic": lambda: onnxruntime_bind(peers.dynamic_int8(folder), options.threads),
             "OpenVINO int8 Q/DQ": lambda: openvino_bind(folder / "dense-int8-openvino.onnx", options.threads, "f32"),
             "OpenVINO int8 Q/DQ, bf16 rest": lambda: openvino_bind(folder / "dense-int8-openvino.onnx",
                                                                    options.threads, "bf16")}
    for name, bind in binds.items():
        engines[name] = peer(tokenizer, bind(), options.threads)
    return engines


def measure(engines, paths, size):
    """Name to pairs a second, by slice."""
    names = list(engines)
    found = {name: [] for name in names}
    for number, path in enumerate(paths):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            rows = engines[name](path)
            if rows != size:
                sys.exit(f"{name}: {rows} scores for {size} pairs of {path}")
            found[name].append(rows / (time.perf_counter() - start))
        print(f"  slice {number + 1}: " + ", ".join(f"{name} {found[name][-1]:.0f}/s" for name in names),
              file=sys.stderr, flush=True)
    return found


def summarize(found, options):
    rows = []
    for name, rates in found.items():
        ratio = peers.quartiles([own / other for own, other in zip(rates, found[REFERENCE])])
        seconds = statistics.mean(1e6 / rate for rate in rates)
        rows.append({"engine": name, "pairs_per_second": 1e6 / seconds, "hours_per_million": seconds / 3600,
                     "dollars_per_million": seconds / 3600 * options.threads * options.dollars_per_core_hour,
                     "ratio": ratio[1], "ratio_low": ratio[0], "ratio_high": ratio[2]})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=peers.ROOT / "build/release")
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="model directory to take tokenizer files from")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for models; what is there is used again")
    parser.add_argument("--shape", default="minilm-l6", choices=peers.SHAPES)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--slice", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dollars-per-core-hour", type=float, default=0.04)
    parser.add_argument("--out", type=pathlib.Path, help="JSON file")
    options = parser.parse_args()

    folder = peers.prepare(options, options.shape)
    engines = load_engines(folder, options)
    found = measure(engines, slices(options.work / "bulk", options.pairs, options.slice), options.slice)
    rows = summarize(found, options)
    print(f"{peers.processor()}, {options.threads} threads, {options.shape}, "
          f"{options.slice * len(found[REFERENCE])} pairs, {options.dollars_per_core_hour} dollars a core and hour\n")
    print(f"| engine | pairs a second | times {REFERENCE} | hours a million | dollars a million |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['engine']} | {row['pairs_per_second']:.0f} | {row['ratio']:.2f} ({row['ratio_low']:.2f} .. "
              f"{row['ratio_high']:.2f}) | {row['hours_per_million']:.2f} | {row['dollars_per_million']:.3f} |")
    if options.out:
        result = {"machine": peers.processor(), "date": datetime.date.today().isoformat(), "versions": peers.versions(),
                  "threads": options.threads, "shape": options.shape, "rows": rows}
        partial = options.out.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1))
        partial.rename(options.out)


if __name__ == "__main__":
    main()
