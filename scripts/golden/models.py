"""Random little BERT directories, one for each layout that users have, with golden values from transformers."""

import json

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

INITIAL_STD = {16: 0.3, 32: 0.2}  # by width; larger than BERT's 0.02: attention and outputs vary

BASE = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
}
LARGE = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def _write_json(path, value, indent=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


def _randomize(module, seed):
    generator = torch.Generator().manual_seed(seed)
    std = INITIAL_STD[module.config.hidden_size]
    for name, p in sorted(module.named_parameters()):
        noise = torch.randn(p.shape, generator=generator) * std
        with torch.no_grad():
            p.copy_(noise + 1 if name.endswith("LayerNorm.weight") else noise)


def _write_tokenizer(directory, layout, vocab):
    options = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None} | layout["tokenizer"]
    special = {f"{k}_token": f"[{k.upper()}]" for k in ("cls", "mask", "pad", "sep", "unk")}
    if layout.get("special_as_objects"):
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
        special_map = {k: {"content": v} | flags for k, v in special.items()}
    else:
        special_map = special
    _write_json(directory / "special_tokens_map.json", special_map)
    _write_json(directory / "tokenizer_config.json",
                options | special | {"model_max_length": layout.get("model_max_length", 64),
                                     "tokenizer_class": "BertTokenizer"})
    vocab_path = directory / "vocab.txt"
    vocab_path.write_text("\n".join(vocab) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab_file=str(vocab_path), **options)
    if layout.get("tokenizer_json"):
        text = tokenizer.backend_tokenizer.to_str(pretty=False)
        (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    if layout.get("tokenizer_json") == "only":
        vocab_path.unlink()
    return tokenizer


def _write_sentence_transformers(directory, layout, config):
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    _write_json(directory / "modules.json",
                [{"idx": i, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
                 for i, (name, path, kind) in enumerate(modules)])
    pooling = {"word_embedding_dimension": config.hidden_size}
    for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"):
        pooling[f"pooling_mode_{mode}"] = mode in (f"{layout['pooling']}_token", f"{layout['pooling']}_tokens")
    _write_json(directory / "1_Pooling" / "config.json", pooling)
    _write_json(directory / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})


def _file_tensors(model, layout, seed):
    """State under the names that such files have."""
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    if "num_labels" in layout:
        return state
    prefix = layout.get("prefix", "")
    state = {prefix + k: v for k, v in state.items()}
    if layout.get("old_names"):
        state = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
                 for k, v in state.items()}
    if layout.get("masked_lm_head"):
        generator = torch.Generator().manual_seed(seed + 1)
        hidden, vocab = model.config.hidden_size, model.config.vocab_size
        for name, shape in (("bias", (vocab,)), ("transform.dense.bias", (hidden,)),
                            ("transform.dense.weight", (hidden, hidden)), ("transform.LayerNorm.gamma", (hidden,)),
                            ("transform.LayerNorm.beta", (hidden,))):
            state["cls.predictions." + name] = torch.randn(shape, generator=generator)
    return state


def _embedding(layout, last, mask):
    if layout["pooling"] == "cls":
        pooled = last[:, 0]
    else:
        weights = mask.unsqueeze(-1).float()
        pooled = (last * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(pooled, dim=-1)


def _last_layer_attention(bert, hidden):
    attention = bert.encoder.layer[-1].attention.self
    return {"q": attention.query(hidden), "k": attention.key(hidden), "v": attention.value(hidden)}


def _loss_golden(layout, golden, logits):
    labels = layout["labels"]
    if layout["num_labels"] == 1:
        target = torch.tensor(labels, dtype=torch.float32)
        golden["labels"], golden["loss"] = target, torch.nn.functional.mse_loss(logits.squeeze(-1), target)
    else:
        target = torch.tensor(labels)
        golden["labels"], golden["loss"] = target.int(), torch.nn.functional.cross_entropy(logits, target)
    return golden["loss"]


def _directed_loss(golden, output, seed, weights=1):
    """Of a fixed random direction: the gradient of the output is that direction."""
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed + 2)) * weights
    golden["direction"], golden["loss"] = direction, (output * direction).sum()
    return golden["loss"]


def _gradients(model, loss, golden):
    model.zero_grad()
    loss.backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            golden["grad." + name.removeprefix("bert.")] = p.grad.clone()


def _steps(model, batch, layout, golden):
    """Parameters after three steps, biases and LayerNorm without decay."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.01},
              {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        output = _embedding(layout, model(**batch).last_hidden_state, batch["attention_mask"])
        (output * golden["direction"]).sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    for name, p in model.named_parameters():
        if p.grad is not None:
            golden["stepped." + name] = p.clone()


def _golden(model, bert, tokenizer, layout, seed):
    first, second = zip(*layout["texts"]) if "num_labels" in layout else (layout["texts"], None)
    batch = tokenizer(list(first), list(second) if second else None, padding=True, return_tensors="pt")
    mask = batch["attention_mask"]
    out = model(**batch, output_hidden_states=True)
    golden = {"ids": batch["input_ids"].int(), "type_ids": batch["token_type_ids"].int(),
              "lengths": mask.sum(1).int()}
    valid = mask.unsqueeze(-1)
    for i, hidden in enumerate(out.hidden_states):
        golden[f"hidden_states.{i}"] = hidden * valid
    for name, value in _last_layer_attention(bert, out.hidden_states[-2]).items():
        golden[name] = value * valid
    if "num_labels" in layout:
        golden["output"] = out.logits
        _gradients(model, _loss_golden(layout, golden, out.logits), golden)
    elif "pooling" in layout:
        golden["output"] = _embedding(layout, out.hidden_states[-1], mask)
        _gradients(model, _directed_loss(golden, golden["output"], seed), golden)
        if layout.get("steps"):
            _steps(model, batch, layout, golden)
    else:
        _gradients(model, _directed_loss(golden, out.last_hidden_state, seed, valid / valid.sum()), golden)
    texts = json.dumps({"first": first, "second": second or []}, ensure_ascii=False)
    return {k: v.detach().contiguous() for k, v in golden.items()}, {"texts": texts}


def write(directory, layout, vocab, seed):
    model_directory = directory / "model"
    model_directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _write_tokenizer(model_directory, layout, vocab)
    config_json = BASE | layout["size"] | layout.get("config", {}) | {"vocab_size": len(vocab)}
    if "num_labels" in layout:
        names = layout.get("label_names", [f"LABEL_{i}" for i in range(layout["num_labels"])])
        config_json["id2label"] = {str(i): name for i, name in enumerate(names)}
        config_json["label2id"] = {name: i for i, name in enumerate(names)}
    config_json = {"architectures": [layout["architecture"]]} | dict(sorted(config_json.items()))
    _write_json(model_directory / "config.json", config_json)

    config = BertConfig(**config_json, attn_implementation="eager")
    model = BertForSequenceClassification(config) if "num_labels" in layout else BertModel(config)
    _randomize(model, seed)
    model.eval()
    if "pooling" in layout:
        _write_sentence_transformers(model_directory, layout, config)
    save_file(_file_tensors(model, layout, seed), model_directory / "model.safetensors", metadata={"format": "pt"})
    golden, metadata = _golden(model, getattr(model, "bert", model), tokenizer, layout, seed)
    save_file(golden, directory / "golden.safetensors", metadata=metadata)
