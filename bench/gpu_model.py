"""A BERT-base encoder with random weights as a model directory, for scripts/gpu-check: speed does not ask for trained
ones. Needs Python's own library alone.
    gpu_model.py DIR            float weights
    gpu_model.py DIR --int8     the encoder's in int8, as calibrate writes them
    gpu_model.py DIR --int8 --sparse   and 2:4"""
import argparse
import json
import math
import pathlib
import random
import struct

LAYERS, HIDDEN, HEADS, FFN, VOCABULARY, POSITIONS = 12, 768, 12, 3072, 30522, 512
CHUNK = 1 << 20  # bytes that are made at a time


def parameters(int8):
    """Name, type and shape of each tensor."""
    for name, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        yield f"bert.embeddings.{name}_embeddings.weight", "F32", (rows, HIDDEN)
    yield from norm("bert.embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            yield from linear(layer + "attention.self." + part, HIDDEN, HIDDEN, int8)
        yield from linear(layer + "attention.output.dense", HIDDEN, HIDDEN, int8)
        yield from norm(layer + "attention.output.LayerNorm")
        yield from linear(layer + "intermediate.dense", FFN, HIDDEN, int8)
        yield from linear(layer + "output.dense", HIDDEN, FFN, int8)
        yield from norm(layer + "output.LayerNorm")
    yield from linear("bert.pooler.dense", HIDDEN, HIDDEN, False)
    yield from linear("classifier", 3, HIDDEN, False)


def linear(name, rows, columns, int8):
    yield name + ".weight", "I8" if int8 else "F32", (rows, columns)
    yield name + ".bias", "F32", (rows,)
    if int8:
        yield name + ".weight_scale", "F32", (rows, 1)
        yield name + ".input_scale", "F32", (1,)


def norm(name):
    yield name + ".weight", "F32", (HIDDEN,)
    yield name + ".bias", "F32", (HIDDEN,)


def constant(value, size):
    return struct.pack("<f", value) * (size // 4)


def random_bits(generator, size, keep, add):
    """`size` bytes whose words are random in the bits of `keep` and have those of `add`."""
    words = size // len(keep)
    bits = generator.getrandbits(8 * size) & int.from_bytes(keep * words, "little")
    return (bits | int.from_bytes(add * words, "little")).to_bytes(size, "little")


def chunks(name, dtype, size, sparse, generator):
    if name.endswith("_scale"):
        yield constant(0.0004 if name.endswith("weight_scale") else 0.05, size)
        return
    if name.endswith("LayerNorm.weight"):
        yield constant(1, size)
        return
    for begin in range(0, size, CHUNK):
        part = min(CHUNK, size - begin)
        if dtype == "F32":  # of either sign, from 1/32 to 1/16
            yield random_bits(generator, part, b"\xff\xff\x7f\x80", b"\x00\x00\x00\x3d")
        elif sparse:  # odd numbers and two zeros
            yield random_bits(generator, part, b"\xff\xff\x00\x00", b"\x01\x01\x00\x00")
        else:
            yield random_bits(generator, part, b"\xff\xff\xff\xff", b"\x01\x01\x01\x01")


def write_weights(path, int8, sparse):
    """The safetensors format: length of the header, the header, the tensors one behind the other."""
    header, offset = {}, 0
    for name, dtype, shape in parameters(int8):
        size = math.prod(shape) * (1 if dtype == "I8" else 4)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in header.items():
            begin, end = tensor["data_offsets"]
            file.writelines(chunks(name, tensor["dtype"], end - begin, sparse, generator))


def quantization():
    """As compressed-tensors says it."""
    numbers = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": False}
    group = {"targets": ["Linear"], "weights": {**numbers, "strategy": "channel"},
             "input_activations": {**numbers, "strategy": "tensor"}, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
            "config_groups": {"group_0": group}, "ignore": ["bert.pooler.dense", "classifier"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--sparse", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": HIDDEN,
              "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": FFN,
              "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
              "hidden_act": "gelu", "layer_norm_eps": 1e-12, "id2label": {"0": "0", "1": "1", "2": "2"}}
    if arguments.int8:
        config["quantization_config"] = quantization()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{i}" for i in range(len(words), VOCABULARY)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    write_weights(folder / "model.safetensors", arguments.int8, arguments.sparse)
    # Last, so that a folder with it is whole.
    (folder / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()
