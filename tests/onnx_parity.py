#!/usr/bin/env python3
"""Compares exported ONNX files with the engine: checks each file, runs it in ONNX Runtime and OpenVINO.

    tests/onnx_parity.py --build build/release MODEL...

Texts are the first pairs of BM25's candidates in data/apt-search, padded in batches. For each model, target and opset
one row: largest and mean difference, the share of outputs within 1 % of the range of the engine's, and for
classifiers NDCG@10 of those candidates, ours and theirs. A model with an output for each token is compared in those of
its tokens, without padding. Beside it what the engine made of the products: names of
fused operations in ONNX Runtime, precision of MatMul in OpenVINO.

The goal is 99.5 % within 1 %. Float models must reach it. int8 models do not: engines add floats in different orders, a
value at the border of two int8 steps may be rounded the other way, and later layers spread the step (docs/onnx.md). They
must keep a mean difference of 1 % of the range, which only catches gross faults; a share below the goal is marked "<".
Exit code 1 if a check fails, a bound is passed, or the target leaves an int8 product in float.

With --gemm-as-conv each file is exported in that form too and compared with the form of MatMul, in the same engine: float
models may differ by 1e-5 of the range, int8 ones as above. Whether an engine makes int8 products of the convolutions is
counted, not demanded.

With --quantize-residual int8 models are exported with residual connections in int8 too, and compared with the engine, which
keeps them in float: the bound is the same, int8 products are counted, not demanded.

With --plugin nothing is run, for only TensorRT knows the nodes: files for it are exported with nodes of the plug-in (float
models in fp16) and checked like the others. Types must reach every value behind such a node, and its weight must be 2:4.
"""

import argparse
import collections
import ctypes
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import openvino

ROOT = pathlib.Path(__file__).parent.parent
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
GOAL = 99.5  # % of outputs within 1 % of the range
INT8_BOUND = 1  # mean difference in % of the range
FORM_BOUND = 1e-3  # largest difference between the two forms of a float model, in % of the range


def zstd_lines(path):
    return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True, text=True).stdout.splitlines()


def candidate_pairs(count):
    folder = ROOT / "data/apt-search"
    texts = [{entry["_id"]: entry["text"] for entry in map(json.loads, zstd_lines(folder / name))}
             for name in ("queries.jsonl.zst", "corpus.jsonl.zst")]
    labels = {tuple(line.split("\t")[:2]): int(line.split("\t")[2])
              for line in zstd_lines(folder / "qrels/test.tsv.zst")[1:]}
    pairs = [tuple(line.split()[:3:2]) for line in zstd_lines(folder / "bm25.test.run.zst")[:count]]
    groups = [(query, labels.get((query, document), 0)) for query, document in pairs]
    return [(texts[0][query], texts[1][document]) for query, document in pairs], groups


def ndcg(outputs, groups):
    """Mean over queries, with the expected label as score."""
    weights = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    scores = (weights @ np.arange(outputs.shape[1])) / weights.sum(axis=1)
    values = []
    for query in dict.fromkeys(query for query, _ in groups):
        rows = [i for i, (name, _) in enumerate(groups) if name == query]
        gains = 2.0 ** np.array([groups[i][1] for i in rows]) - 1
        ranked = gains[np.argsort(-scores[rows], kind="stable")][:10]
        best = np.sort(gains)[::-1][:10]
        discount = 1 / np.log2(np.arange(len(ranked)) + 2)
        if best.sum() > 0:
            values.append((ranked @ discount) / (best @ discount))
    return np.mean(values)


def has_row_per_token(model):
    architecture = json.loads((model / "config.json").read_text())["architectures"][0]
    return "SequenceClassification" not in architecture and not (model / "modules.json").exists()


class Engine:
    """The C API, as far as needed here."""

    def __init__(self, library, model):
        self.row_per_token = has_row_per_token(model)
        self.api = ctypes.CDLL(str(library))
        for name in ("twofour_engine_load", "twofour_session_create"):
            getattr(self.api, name).restype = ctypes.c_void_p
        self.api.twofour_last_error.restype = ctypes.c_char_p
        self.api.twofour_engine_output_width.restype = ctypes.c_int64
        self.engine = ctypes.c_void_p(self.checked(self.api.twofour_engine_load(str(model).encode(), None)))
        self.session = ctypes.c_void_p(self.checked(self.api.twofour_session_create(self.engine, 1)))

    def checked(self, pointer):
        if not pointer:
            sys.exit(self.api.twofour_last_error().decode())
        return pointer

    def run(self, batch):
        ids = np.concatenate([row[0] for row in batch]).astype(np.int32)
        types = np.concatenate([row[1] for row in batch]).astype(np.int32)
        offsets = np.cumsum([0] + [len(row[0]) for row in batch]).astype(np.int32)
        results = len(ids) if self.row_per_token else len(batch)
        out = np.empty((results, self.api.twofour_engine_output_width(self.engine)), np.float32)
        ints = ctypes.POINTER(ctypes.c_int32)
        failed = self.api.twofour_session_run_tokens(
            self.session, ids.ctypes.data_as(ints), types.ctypes.data_as(ints), offsets.ctypes.data_as(ints),
            ctypes.c_size_t(len(batch)), out.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), ctypes.c_size_t(out.size))
        if failed:
            sys.exit(self.api.twofour_last_error().decode())
        return out


def tokenize(tool, folder, texts):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(text.encode() for text in texts) + b"\0")
        file.flush()
        result = subprocess.run([tool, folder, file.name], check=True, capture_output=True, text=True)
    return [[int(x) for x in line.split()] for line in result.stdout.splitlines()]


def encode(tool, model, pairs, limit):
    queries = tokenize(tool, model, [pair[0] for pair in pairs])
    documents = tokenize(tool, model, [pair[1] for pair in pairs])
    rows = []
    for query, document in zip(queries, documents):
        ids = query + document[1:]
        types = [0] * len(query) + [1] * (len(document) - 1)
        rows.append((ids[:limit], types[:limit]))
    return rows


def batches(rows, size):
    for begin in range(0, len(rows), size):
        yield rows[begin:begin + size]


def padded(batch):
    shape = (len(batch), max(len(ids) for ids, _ in batch))
    inputs = {name: np.zeros(shape, np.int64) for name in INPUTS}
    for i, (ids, types) in enumerate(batch):
        inputs["input_ids"][i, :len(ids)] = ids
        inputs["attention_mask"][i, :len(ids)] = 1
        inputs["token_type_ids"][i, :len(ids)] = types
    return inputs


def run_batches(run, rows, size):
    """run(inputs) of each batch, one below the other; of outputs for each token those of padding are left out."""
    outputs = []
    for batch in batches(rows, size):
        inputs = padded(batch)
        output = run(inputs)
        outputs.append(output[inputs["attention_mask"] == 1] if output.ndim == 3 else output)
    return np.concatenate(outputs)


def run_onnxruntime(path, rows, size):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        optimized = f"{folder}/optimized.onnx"
        options.optimized_model_filepath = optimized
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        kinds = collections.Counter(node.op_type for node in onnx.load(optimized, load_external_data=False).graph.node)
    outputs = run_batches(lambda inputs: session.run(None, inputs)[0], rows, size)
    int8 = sum(kinds[kind] for kind in ("MatMulIntegerToFloat", "QLinearMatMul", "QGemm", "QLinearConv", "ConvInteger"))
    return outputs, int8, kinds


def run_openvino(path, rows, size):
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    kinds = collections.Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str)
        if kind in ("FullyConnected", "MatMul", "Convolution"):
            kind += ":" + info["runtimePrecision"].astype(str)
        kinds[kind] += 1
    outputs = run_batches(lambda inputs: compiled(inputs)[0], rows, size)
    int8 = sum(count for kind, count in kinds.items() if kind.endswith((":i8", ":u8")))
    return outputs, int8, kinds


ENGINES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}


def check(path):
    """Number of products with int8 weights; raises for a file that ONNX refuses."""
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    return len(weights)


def check_plugin(name, opset, path):
    """True if ONNX takes a file with nodes that it does not know, and what they hold and give is declared."""
    products = check(path)
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    typed = {value.name for value in (*inferred.value_info, *inferred.output)}
    untyped = [output for node in model.graph.node for output in node.output if output not in typed]
    nodes = [node for node in model.graph.node if node.domain]
    weights = [onnx.numpy_helper.to_array(attribute.t) for node in nodes for attribute in node.attribute
               if attribute.name == "weight"]
    full = sum(int(((weight.reshape(-1, 4) != 0).sum(axis=1) > 2).sum()) for weight in weights)
    domains = ", ".join(sorted({node.domain for node in nodes}))
    print(f"{name + ', plug-in':24} {'tensorrt':12} {opset:5} {len(nodes)} nodes of {domains or 'no other domain'}, "
          f"{products} other int8 products, {len(untyped)} values without type, {full} groups that are not 2:4", flush=True)
    return bool(nodes) and len(weights) == len(nodes) and not untyped and not full


def compare(name, target, opset, path, ours, rows, groups, arguments, all_int8=True):
    """True if all is as it should be, and the outputs by engine. all_int8: the target must make int8 products of all."""
    good = True
    outputs = {}
    products = check(path)
    for engine, execute in ENGINES.items():
        if target not in (engine, "tensorrt"):
            continue
        theirs, int8, kinds = execute(path, rows, arguments.batch)
        outputs[engine] = theirs
        difference = np.abs(theirs - ours)
        percent = 100 * difference / (ours.max() - ours.min())
        share = 100 * np.mean(percent <= 1)
        metrics = f"{ndcg(ours, groups):.4f} {ndcg(theirs, groups):.4f}" if groups else ""
        print(f"{name:24} {target:12} {opset:5} {engine:12} {difference.max():10.2e} {difference.mean():10.2e} "
              f"{percent.mean():8.4f} {share:8.2f}{'<' if share < GOAL else ' '}{int8:4d} of {products:2d} {metrics}", flush=True)
        if arguments.verbose:
            print("    " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
        good = good and (percent.mean() <= INT8_BOUND if products else share >= GOAL)
        good = good and (int8 == products or target != engine or not all_int8)
    return good, outputs


def compare_forms(name, target, opset, path, matmul, rows, arguments):
    """The same for the form of 1x1 convolutions, beside the outputs of that of MatMul."""
    good = True
    products = check(path)
    for engine, expected in matmul.items():
        outputs, int8, kinds = ENGINES[engine](path, rows, arguments.batch)
        percent = 100 * np.abs(outputs - expected) / (expected.max() - expected.min())
        print(f"{name + ', conv':24} {target:12} {opset:5} {engine:12} {np.abs(outputs - expected).max():10.2e} "
              f"{np.abs(outputs - expected).mean():10.2e} {percent.mean():8.4f} {100 * np.mean(percent <= 1):8.2f} "
              f"{int8:4d} of {products:2d}", flush=True)
        if arguments.verbose:
            print("    " + ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())))
        good = good and (percent.mean() <= INT8_BOUND if products else percent.max() <= FORM_BOUND)
    return good


def check_plugins(arguments):
    """check_plugin of all models and opsets."""
    good = True
    for model in arguments.models:
        float_model = "quantization_config" not in json.loads((model / "config.json").read_text())
        options = [*arguments.option, "--plugin", *(("--precision", "fp16") if float_model else ())]
        for opset in arguments.opset or (17,):
            with tempfile.TemporaryDirectory() as folder:
                path = f"{folder}/model.onnx"
                export(model, path, "tensorrt", opset, options, arguments.build)
                good = check_plugin(model.parent.name if model.name == "model" else model.name, opset, path) and good
    return good


def export(model, path, target, opset, options, build):
    subprocess.run([build / "bin/twofour", "-q", "export", model, "--out", path, "--target", target, "--opset", str(opset),
                    *options], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--target", action="append", help="default: all")
    parser.add_argument("--opset", type=int, action="append", help="default: 17")
    parser.add_argument("--option", action="append", default=[], help="passed to twofour export")
    parser.add_argument("--gemm-as-conv", action="store_true", help="that form beside the form of MatMul")
    parser.add_argument("--quantize-residual", action="store_true", help="int8 models with residual connections in int8 too")
    parser.add_argument("--plugin", action="store_true", help="check files with nodes of the plug-in, which nothing here runs")
    parser.add_argument("--verbose", action="store_true", help="count the operations that each engine runs")
    arguments = parser.parse_args()
    if arguments.plugin:
        return 0 if check_plugins(arguments) else 1

    print(f"onnxruntime {onnxruntime.__version__}, openvino {openvino.__version__.split('-')[0]}, "
          f"onnx {onnx.__version__}; {arguments.pairs} pairs\n"
          f"{'model':24} {'target':12} opset {'engine':12} {'max diff':>10} {'mean diff':>10} {'mean %':>8} "
          f"{'within %':>8} int8 products, ndcg@10")
    pairs, groups = candidate_pairs(arguments.pairs)
    good = True
    for model in arguments.models:
        name = model.parent.name if model.name == "model" else model.name
        config = json.loads((model / "config.json").read_text())
        limit = min(arguments.max_length, config["max_position_embeddings"])
        classifier = len(config.get("id2label", [])) > 1 and "SequenceClassification" in config["architectures"][0]
        labelled = groups if classifier else []
        rows = encode(arguments.build / "bin/tokenize_file", model, pairs, limit)
        engine = Engine(arguments.build / "lib/libtwofour.so.0", model)
        ours = np.concatenate([engine.run(batch) for batch in batches(rows, arguments.batch)])
        for target in arguments.target or ("onnxruntime", "openvino", "tensorrt"):
            for opset in arguments.opset or (17,):
                with tempfile.TemporaryDirectory() as folder:
                    path = f"{folder}/model.onnx"
                    export(model, path, target, opset, arguments.option, arguments.build)
                    same, outputs = compare(name, target, opset, path, ours, rows, labelled, arguments)
                    good = good and same
                    if arguments.quantize_residual and "quantization_config" in config:
                        export(model, path, target, opset, [*arguments.option, "--quantize-residual"], arguments.build)
                        good = compare(name + ", residual", target, opset, path, ours, rows, labelled, arguments,
                                       all_int8=False)[0] and good
                    if not arguments.gemm_as_conv:
                        continue
                    export(model, path, target, opset, [*arguments.option, "--gemm-as-conv"], arguments.build)
                    good = compare_forms(name, target, opset, path, outputs, rows, arguments) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
