"""2:4 and dense products of PyTorch on a GPU, for scripts/gpu-check: cuSPARSELt through torch's wrapper, cuBLASLt
through matmul. Times are microseconds, the median of rounds; weights take turns so that they come from memory."""
import argparse
import json
import statistics

import torch

ROUNDS, RUNS, WARM_UP = 5, 20, 5


def microseconds(run, copies):
    for i in range(WARM_UP):
        run(i % copies)
    times = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(RUNS):
            run(i % copies)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1000 / RUNS)
    return statistics.median(times)


def pruned(weight):
    """Two of four along k are zero."""
    groups = weight.view(weight.shape[0], -1, 4)
    groups[..., 1] = 0
    groups[..., 3] = 0
    return groups.view_as(weight)


def or_reason(measure):
    try:
        return {"us": measure()}
    except Exception as error:  # a row that this version of torch cannot give is no failure
        return {"reason": str(error).splitlines()[0][:200]}


def float_row(n, k, m, dtype):
    bytes_of_one = n * k * 2
    copies = max(1, min(16, (64 << 20) // bytes_of_one))
    x = torch.randn(m, k, device="cuda").to(dtype)
    dense = [torch.randn(n, k, device="cuda").to(dtype) for _ in range(copies)]
    row = {"dense": or_reason(lambda: microseconds(lambda i: torch.mm(x, dense[i].t()), copies))}

    def sparse():
        weights = [torch._cslt_compress(pruned(w)) for w in dense]
        return microseconds(lambda i: torch._cslt_sparse_mm(weights[i], x.t()).t(), copies)

    row["cslt"] = or_reason(sparse)
    return row


def int8_row(n, k, m):
    copies = max(1, min(16, (64 << 20) // (n * k)))
    x = torch.randint(-127, 128, (m, k), device="cuda", dtype=torch.int8)
    dense = [torch.randint(-127, 128, (n, k), device="cuda", dtype=torch.int8) for _ in range(copies)]
    row = {"dense": or_reason(lambda: microseconds(lambda i: torch._int_mm(x, dense[i].t()), copies))}

    def sparse():
        weights = [torch._cslt_compress(pruned(w)) for w in dense]
        return microseconds(
            lambda i: torch._cslt_sparse_mm(weights[i], x.t(), out_dtype=torch.float16).t(), copies)

    row["cslt"] = or_reason(sparse)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    result = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name(), "rows": []}
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
