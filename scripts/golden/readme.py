"""README.md of tests/golden: names and shapes."""

import json

from safetensors import safe_open

HEAD = """# Golden values

Made by `scripts/make-golden` (its head names the versions), `performance.json` by `scripts/golden/performance.py`; do not edit. Models are random and small.

## Models: `<layout>/model` and `<layout>/golden.safetensors`

| layout | vocabulary | hidden / heads / intermediate | files and names |
|---|---|---|---|
"""

TENSORS = """
Each golden file holds four padded sequences; the texts stand in its metadata (`texts`: JSON with `first`, `second`).
Dropout is off. Rows of padding are zero in `hidden_states.*`, `q`, `k`, `v`.

| tensor | shape | |
|---|---|---|
| `ids`, `type_ids` | I32 [batch, seq] | padded with 0 |
| `lengths` | I32 [batch] | |
| `hidden_states.0` .. `.2` | F32 [batch, seq, hidden] | 0: after the embeddings; 2: of the last layer |
| `q`, `k`, `v` | F32 [batch, seq, hidden] | of the last layer, with bias, not divided by sqrt(d) |
| `output` | F32 [batch, labels or hidden] | logits, or the normalized embedding; absent without a head |
| `labels`, `loss` | I32 or F32 [batch]; F32 [] | cross-encoders: cross-entropy, or mean squared error |
| `direction` | as `output`; F32 [batch, seq, hidden] without a head | `loss` is the sum of `output`, or of `hidden_states.2`, times it; zero at padding |
| `grad.<canonical name>` | as the parameter | gradient of `loss`; absent where that is not used |
| `stepped.<canonical name>` | as the parameter | `minilm`: after three steps of AdamW, lr 1e-3, decay 0.01 but on biases and LayerNorm, gradients clipped to a norm of 1 |

## Losses: `losses.safetensors`

Formulas as in `twofour/train/losses.h` and `fake_quantize.h`, evaluated in f64. `X.loss` is the scalar, `X.grad.Y` its
gradient by `X.Y`. MiniLM losses are a mean over heads and over all valid query tokens of the batch; in `minilm_v2`
`heads` are relation heads. In `contrastive`, document 4 is a second one of query 1 (left out there) and document 5 of
no query. `fake_quantize*.grad.x` answers `grad_output`. AdamW: lr 0.01, betas 0.9 and 0.999, eps 1e-8, decay 0.1;
`adamw.after` has the parameter after each of five steps.

| tensor | type | shape |
|---|---|---|
"""

TAIL = """
## Data: `data/en.tsv`, `data/zh.tsv`

24 queries with 8 documents each, from templates: the label counts which of the query's two properties a document has.

## Tokenizations: `tokenizer/`

`cases.json` holds texts and their ids by Hugging Face's `BertTokenizerFast` under several options, with the vocabulary
`vocab.txt`, where each character of the texts is a token, so that ids tell how a text was normalized and split.
`bert-base-chinese-vocab.txt.xz` is the vocabulary of Google's bert-base-chinese (Apache-2.0).
"""

DTYPES = {"float32": "F32", "int32": "I32", "int8": "I8"}


def _describe(path):
    config = json.loads((path / "model" / "config.json").read_text())
    with safe_open(path / "model" / "model.safetensors", "np") as f:
        names = sorted(f.keys())
    notes = [config["architectures"][0]]
    notes += ["prefix `bert.`"] if any(n.startswith("bert.") for n in names) else ["no prefix"]
    notes += ["`LayerNorm.gamma`, `.beta` as in Google's files"] if any("gamma" in n for n in names) else []
    notes += ["`cls.predictions.*`, which an encoder leaves out"] if any(n.startswith("cls.") for n in names) else []
    notes += ["sentence-transformers"] if (path / "model" / "modules.json").exists() else []
    notes += ["`tokenizer.json` only"] if not (path / "model" / "vocab.txt").exists() else []
    notes += [config["hidden_act"]] if config["hidden_act"] != "gelu" else []
    size = f"{config['hidden_size']} / {config['num_attention_heads']} / {config['intermediate_size']}"
    return f"| {path.name} | {config['vocab_size']} | {size} | {'; '.join(notes)} |\n"


def write(path, loss_tensors):
    directories = sorted(p.parent for p in path.parent.glob("*/model"))
    text = HEAD + "".join(_describe(d) for d in directories) + TENSORS
    text += "".join(f"| `{name}` | {DTYPES[dtype]} | {shape} |\n" for name, (dtype, shape) in loss_tensors.items())
    path.write_text(text + TAIL, encoding="utf-8")
