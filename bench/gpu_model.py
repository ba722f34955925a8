"""A BERT-base encoder with random weights as a model directory, for scripts/gpu-check: speed does not ask for trained
ones. Needs numpy alone.
    gpu_model.py DIR"""
import json
import pathlib
import struct
import sys

import numpy as np

LAYERS, HIDDEN, HEADS, FFN, VOCABULARY, POSITIONS = 12, 768, 12, 3072, 30522, 512


def shapes():
    for name, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        yield f"bert.embeddings.{name}_embeddings.weight", (rows, HIDDEN)
    yield from norm("bert.embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"bert.encoder.layer.{i}."
        for part in ("query", "key", "value"):
            yield from linear(layer + "attention.self." + part, HIDDEN, HIDDEN)
        yield from linear(layer + "attention.output.dense", HIDDEN, HIDDEN)
        yield from norm(layer + "attention.output.LayerNorm")
        yield from linear(layer + "intermediate.dense", FFN, HIDDEN)
        yield from linear(layer + "output.dense", HIDDEN, FFN)
        yield from norm(layer + "output.LayerNorm")
    yield from linear("bert.pooler.dense", HIDDEN, HIDDEN)
    yield from linear("classifier", 3, HIDDEN)


def linear(name, rows, columns):
    yield name + ".weight", (rows, columns)
    yield name + ".bias", (rows,)


def norm(name):
    yield name + ".weight", (HIDDEN,)
    yield name + ".bias", (HIDDEN,)


def write_weights(path):
    """The safetensors format: length of the header, the header, the tensors one behind the other."""
    header, offset = {}, 0
    for name, shape in shapes():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for name, shape in shapes():
            scale = 1 if "LayerNorm.weight" in name else 0.03
            values = random.standard_normal(shape, np.float32) * np.float32(scale)
            file.write((np.ones(shape, np.float32) if scale == 1 else values).tobytes())


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": HIDDEN,
              "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": FFN,
              "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
              "hidden_act": "gelu", "layer_norm_eps": 1e-12, "id2label": {"0": "0", "1": "1", "2": "2"}}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{i}" for i in range(len(words), VOCABULARY)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    write_weights(folder / "model.safetensors")
    # Last, so that a folder with it is whole.
    (folder / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main()
