"""2:4 and dense products of PyTorch on a GPU, for scripts/gpu-check: cuSPARSELt through torch's wrapper, cuBLASLt
through matmul; and BERT-base's encoder in fp16 with flash attention. Times of products are microseconds, the median of
rounds, each a CUDA graph where it can be captured; copies of the weight, together four times as large as the L2 cache,
take turns so that they come from memory."""
import argparse
import json
import math
import statistics

import torch
import torch.nn.functional as F

LAYERS, HIDDEN, HEADS, FFN, VOCABULARY, POSITIONS = 12, 768, 12, 3072, 30522, 512
ROUNDS, RUNS, WARM_UP, ROUND_MS = 5, 20, 5, 2


def round_ms(run):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def captured(run):
    """`run` as a graph, or why not."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            run()
        graph.replay()
        torch.cuda.synchronize()
    except Exception as error:  # some of torch's operations cannot be captured
        torch.cuda.synchronize()
        return None, str(error).splitlines()[0][:200]
    return graph, ""


def measured(run, copies):
    for i in range(WARM_UP):
        run(i % copies)
    runs = max(RUNS, copies)
    first = round_ms(lambda: [run(i % copies) for i in range(runs)])
    runs *= min(50, max(1, math.ceil(ROUND_MS / first)))
    plain = lambda: [run(i % copies) for i in range(runs)]
    graph, reason = captured(plain)
    times = [round_ms(graph.replay if graph else plain) * 1000 / runs for _ in range(ROUNDS)]
    row = {"us": statistics.median(times)}
    return row if graph else {**row, "no_graph": reason}


def copies_of(bytes_of_one):
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, -(-4 * cache // bytes_of_one))


def pruned(weight):
    """Two of four along k are zero."""
    groups = weight.view(weight.shape[0], -1, 4)
    groups[..., 1] = 0
    groups[..., 3] = 0
    return groups.view_as(weight)


def or_reason(measure):
    try:
        return measure()
    except Exception as error:  # a row that this version of torch cannot give is no failure
        return {"reason": str(error).splitlines()[0][:200]}


def float_row(n, k, m, dtype):
    copies = copies_of(n * k * 2)
    x = torch.randn(m, k, device="cuda").to(dtype)
    dense = [torch.randn(n, k, device="cuda").to(dtype) for _ in range(copies)]
    row = {"dense": or_reason(lambda: measured(lambda i: torch.mm(x, dense[i].t()), copies))}

    def sparse():
        weights = [torch._cslt_compress(pruned(w)) for w in dense]
        return measured(lambda i: torch._cslt_sparse_mm(weights[i], x.t()).t(), copies)

    row["cslt"] = or_reason(sparse)
    return row


def int8_row(n, k, m):
    copies = copies_of(n * k)
    x = torch.randint(-127, 128, (m, k), device="cuda", dtype=torch.int8)
    dense = [torch.randint(-127, 128, (n, k), device="cuda", dtype=torch.int8) for _ in range(copies)]
    row = {"dense": or_reason(lambda: measured(lambda i: torch._int_mm(x, dense[i].t()), copies))}

    def sparse():
        weights = [torch._cslt_compress(pruned(w)) for w in dense]
        return measured(
            lambda i: torch._cslt_sparse_mm(weights[i], x.t(), out_dtype=torch.float16).t(), copies)

    row["cslt"] = or_reason(sparse)
    return row


def random_linear(n, k):
    return (0.03 * torch.randn(n, k, device="cuda")).half(), torch.zeros(n, device="cuda").half()


class Encoder:
    """As scripts/gpu-check's models are, without padding."""

    def __init__(self):
        self.word, self.position = random_linear(VOCABULARY, HIDDEN)[0], random_linear(POSITIONS, HIDDEN)[0]
        sizes = (3 * HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (FFN, HIDDEN), (HIDDEN, FFN)
        self.layers = [[random_linear(*size) for size in sizes] for _ in range(LAYERS)]
        self.head = random_linear(3, HIDDEN)

    def run(self, ids):
        norm = lambda x: F.layer_norm(x, (HIDDEN,))
        batch, tokens = ids.shape
        x = norm(F.embedding(ids, self.word) + self.position[:tokens])
        for qkv, output, wide, narrow in self.layers:
            q, k, v = F.linear(x, *qkv).view(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, HIDDEN)
            x = norm(x + F.linear(attended, *output))
            x = norm(x + F.linear(F.gelu(F.linear(x, *wide)), *narrow))
        return F.linear(x[:, 0], *self.head)


def encoder_row(encoder, batch, tokens):
    """Milliseconds on the device alone, the median of 20 runs: ids and results stay there."""
    ids = torch.randint(0, VOCABULARY, (batch, tokens), device="cuda")
    run = lambda: encoder.run(ids)
    for _ in range(3):
        run()
    graph, reason = captured(run)
    row = {"ms": statistics.median(round_ms(graph.replay if graph else run) for _ in range(20))}
    return row if graph else {**row, "no_graph": reason}


def encoder_rows(shapes):
    from torch.nn.attention import SDPBackend, sdpa_kernel  # since 2.3

    encoder = Encoder()
    with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        for batch, tokens in (map(int, shape.split("x")) for shape in shapes.split(",")):
            row = {"batch": batch, "tokens": tokens, **or_reason(lambda: encoder_row(encoder, batch, tokens))}
            print(row, flush=True)
            yield row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--encoder", required=True, help="sequences x tokens: 1x32,8x64")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    result = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "rows": []}
    result["encoder"] = or_reason(lambda: list(encoder_rows(arguments.encoder)))
    for shape in arguments.shapes.split(","):
        n, k = map(int, shape.split("x"))
        for m in map(int, arguments.rows.split(",")):
            for name, measure in (
                ("fp16", lambda: float_row(n, k, m, torch.float16)),
                ("bf16", lambda: float_row(n, k, m, torch.bfloat16)),
                ("int8", lambda: int8_row(n, k, m)),
            ):
                row = {"n": n, "k": k, "m": m, "type": name, **measure()}
                result["rows"].append(row)
                print(row, flush=True)
        with open(arguments.out, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
