#!/usr/bin/env python3
"""Checks `twofour export --format compressed-tensors` with the package compressed-tensors and transformers.

    tests/compressed_tensors_check.py --build build/release MODEL...

MODELs are int8 model directories. For each one:
  read      transformers opens the exported directory, misses and rejects nothing but a pooler that the file lacks, and
            holds the file's own int8 weights and scales
  zeros     after decompression by the package each weight is int8 * scale, zeros stand where they stood, and as many
            groups of four are 2:4 as before
  outputs   hidden states or logits, quantized activations included, beside the engine's: mean difference in % of the range
  return    what transformers saves again is a model of ours: `twofour inspect` sees the same layers, bytes are the same
Exit code 1 if anything else comes out, or a mean difference above 1 %.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import compressed_tensors
import numpy as np
import torch
import transformers
from compressed_tensors.compressors.model_compressors import ModelCompressor
from safetensors.torch import load_file

import onnx_parity

BOUND = onnx_parity.INT8_BOUND


def require(condition, message):
    if not condition:
        sys.exit(f"compressed_tensors_check.py: {message}")


def load(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    classifies = "SequenceClassification" in config.architectures[0]
    kind = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
    model, found = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    missing = [name for name in found["missing_keys"] if not name.startswith("pooler.")]
    rest = {key: names for key, names in found.items() if names and key != "missing_keys"}
    require(not missing and not rest, f"{folder}: missing {missing}, otherwise {rest}")
    return model.eval(), classifies


def int8_layers(tensors):
    return [name[:-len(".weight")] for name, tensor in tensors.items() if tensor.dtype == torch.int8]


def sparse_groups(weight):
    if weight.shape[1] % 4:
        return 0
    return int(((weight.reshape(-1, 4) != 0).sum(1) <= 2).sum())


def check_state(model, tensors, layers):
    state = model.state_dict()
    for layer in layers:
        for suffix in (".weight", ".weight_scale", ".input_scale"):
            name = layer + suffix
            require(torch.equal(state[name], tensors[name]), f"{name} differs from the file's")


def check_decompressed(model, tensors, layers):
    state = model.state_dict()
    groups = 0
    for layer in layers:
        stored, weight = tensors[layer + ".weight"], state[layer + ".weight"]
        expected = stored.float() * tensors[layer + ".weight_scale"]
        require(weight.dtype == torch.float32 and torch.equal(weight, expected), f"{layer} is not int8 * scale")
        require(sparse_groups(weight) == sparse_groups(stored), f"{layer} lost zeros")
        groups += sparse_groups(weight)
    return groups, sum(tensors[layer + ".weight"].numel() for layer in layers) // 4


def pooled(model, folder, hidden, mask):
    """As sentence-transformers does; only what the models of the tests need."""
    config = json.loads((folder / "1_Pooling/config.json").read_text())
    require(config["pooling_mode_mean_tokens"], f"{folder}: only mean pooling is known here")
    out = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    normalizes = "Normalize" in (folder / "modules.json").read_text()
    return torch.nn.functional.normalize(out, dim=1) if normalizes else out


def outputs(model, classifies, folder, rows, size):
    out = []
    for batch in onnx_parity.batches(rows, size):
        inputs = {name: torch.from_numpy(values) for name, values in onnx_parity.padded(batch).items()}
        with torch.no_grad():
            first = model(**inputs)[0]
        out.append(first if classifies else pooled(model, folder, first, inputs["attention_mask"]))
    return torch.cat(out).numpy()


def layers_seen(twofour, folder):
    result = subprocess.run([twofour, "inspect", folder, "--json"], check=True, capture_output=True, text=True)
    return json.loads(result.stdout)["layers"]


def check_return(model, source, folder, twofour):
    model.save_pretrained(folder)
    if (source / "modules.json").exists():  # sentence-transformers' files are not of this package
        (folder / "1_Pooling").mkdir()
        for name in ("modules.json", "1_Pooling/config.json"):
            (folder / name).write_bytes((source / name).read_bytes())
    before, after = load_file(source / "model.safetensors"), load_file(folder / "model.safetensors")
    for name, tensor in before.items():
        require(name in after and torch.equal(tensor, after[name]), f"{name} came back otherwise")
    require(layers_seen(twofour, source) == layers_seen(twofour, folder), "inspect sees other layers")


def check(source, arguments, folder):
    twofour = arguments.build / "bin/twofour"
    exported = folder / "exported"
    subprocess.run([twofour, "-q", "export", source, "--out", exported, "--format", "compressed-tensors"], check=True)
    tensors = load_file(exported / "model.safetensors")
    layers = int8_layers(tensors)
    model, classifies = load(exported)
    check_state(model, tensors, layers)
    check_return(model, exported, folder / "returned", twofour)

    limit = min(arguments.max_length, json.loads((exported / "config.json").read_text())["max_position_embeddings"])
    pairs, _ = onnx_parity.candidate_pairs(arguments.pairs)
    rows = onnx_parity.encode(arguments.build / "bin/tokenize_file", exported, pairs, limit)
    engine = onnx_parity.Engine(arguments.build / "lib/libtwofour.so.0", exported)
    ours = np.concatenate([engine.run(batch) for batch in onnx_parity.batches(rows, 16)])
    difference = np.abs(outputs(model, classifies, exported, rows, 16) - ours)
    percent = 100 * difference / (ours.max() - ours.min())

    config = transformers.AutoConfig.from_pretrained(exported).quantization_config
    decompressed = load(exported)[0]
    ModelCompressor.from_compression_config(transformers.CompressedTensorsConfig(**config)).decompress_model(decompressed)
    sparse, groups = check_decompressed(decompressed, tensors, layers)
    name = source.parent.name if source.name == "model" else source.name
    print(f"{name:28} {len(layers):6} {sparse:9} {groups:9} {percent.mean():8.4f} {np.mean(percent <= 1) * 100:8.2f}", flush=True)
    return percent.mean() <= BOUND


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=onnx_parity.ROOT / "build/release")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(f"compressed-tensors {compressed_tensors.__version__}, transformers {transformers.__version__}, "
          f"torch {torch.__version__}; {arguments.pairs} pairs\n"
          f"{'model':28} {'int8':>6} {'2:4':>9} {'groups':>9} {'mean %':>8} {'within %':>8}")
    good = True
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            good = check(model, arguments, pathlib.Path(folder)) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
