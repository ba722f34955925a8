"""Plain fine-tuning of a cross-encoder with PyTorch and transformers: the peer that `twofour train` is measured against.

The same model, pairs, batch size, bf16 autocast, optimizer and number of threads; written the way one writes it, with
`--sort` as the usual remedy against padding (batches of neighbours in length). Prints one JSON object.
"""

import argparse
import io
import json
import random
import subprocess
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def read_lines(path):
    return io.StringIO(subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout.decode())


def read_beir(folder, split):
    texts = {}
    for name in ("queries", "corpus"):
        for line in read_lines(folder / f"{name}.jsonl.zst"):
            row = json.loads(line)
            texts[name, row["_id"]] = row["text"]
    rows = [line.rstrip("\n").split("\t") for line in read_lines(folder / "qrels" / f"{split}.tsv.zst")][1:]
    return [(texts["queries", q], texts["corpus", d], int(label)) for q, d, label in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="BEIR folder with zstd files, e.g. data/apt-search")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sort", action="store_true", help="sort by length inside windows of 64 batches")
    options = parser.parse_args()

    torch.manual_seed(1)
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=3)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=options.steps)

    pairs = read_beir(options.data, "train")
    random.Random(1).shuffle(pairs)
    pairs = pairs[: options.batch * max(64, options.steps)]
    if options.sort:
        window = options.batch * 64
        for begin in range(0, len(pairs), window):
            pairs[begin : begin + window] = sorted(pairs[begin : begin + window], key=lambda p: len(p[0]) + len(p[1]))
    batches = [pairs[i : i + options.batch] for i in range(0, len(pairs) - options.batch + 1, options.batch)]
    random.Random(2).shuffle(batches)

    begin, losses = None, []
    for step, batch in enumerate(batches[: options.steps]):
        if step == options.warmup:
            begin = time.perf_counter()
        inputs = tokenizer([p[0] for p in batch], [p[1] for p in batch], padding=True, truncation=True,
                           max_length=options.max_length, return_tensors="pt")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**inputs, labels=torch.tensor([p[2] for p in batch])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    seconds = time.perf_counter() - begin
    count = (options.steps - options.warmup) * options.batch
    print(json.dumps({"pairs_per_second": count / seconds, "steps": options.steps, "sorted": options.sort,
                      "threads": options.threads, "torch": torch.__version__, "loss_last_10": sum(losses[-10:]) / 10}))


if __name__ == "__main__":
    main()
