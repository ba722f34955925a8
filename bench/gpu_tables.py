"""Tables in Markdown of what scripts/gpu-check has measured, and its goals beside them.
    gpu_tables.py DIR"""
import json
import pathlib
import sys

ENCODER = ((1, 32), (8, 64), (32, 128), (128, 128))  # sequences, tokens
TYPES = {"fp16": ("F16", "F16"), "bf16": ("BF16", "BF16"), "int8": ("I8", "I32"), "fp8": ("F8_E4M3", "F16")}


def load(folder, name):
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def table(title, header, rows):
    if not rows:
        return
    print(f"\n## {title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def ratio(a, b):
    return f"{a / b:.2f}" if a and b else "-"


def number(value):
    return f"{value:.2f}" if value else "-"


def kernel(plan):
    if plan["use"] == "sparse":
        return f"cuSPARSELt {plan['algorithm']}"
    return f"CUTLASS {plan['variant']}" if plan["use"] == "cutlass" else plan["use"]


def products(folder):
    """Microseconds of the fastest kernel, of cuBLASLt's best and of PyTorch's wrapper; above 1 the first is faster."""
    torch = {(row["type"], row["n"], row["k"], row["m"]): row for row in load(folder, "pytorch").get("rows", [])}
    for name, (source, result) in TYPES.items():
        rows = []
        for plan in load(folder, f"{name}-alone").get("plans", []):
            if (plan["input"], plan["output"]) != (source, result):
                continue
            wrapper = torch.get((name, plan["n"], plan["k"], plan["m"]), {}).get("cslt", {}).get("us")
            us, dense = plan.get("us"), plan.get("dense_us")
            rows.append((plan["n"], plan["k"], plan["m"], kernel(plan), us, dense, wrapper))
        header = ("n", "k", "rows", "fastest", "us", "cuBLASLt us", "ratio", "PyTorch 2:4 us", "ratio")
        table(f"Products in {name}, alone", header,
              [(str(n), str(k), str(m), use, number(us), number(dense), ratio(dense, us), number(wrapper), ratio(wrapper, us))
               for n, k, m, use, us, dense, wrapper in sorted(rows)])
        yield name, rows


def bench_rows(result):
    return {(row["batch"], row["tokens"]): row for row in result.get("results", [])}


def encoders(folder):
    """Milliseconds that a caller waits; ratios over the other model, run in turns."""
    flash = {(row["batch"], row["tokens"]): row.get("ms") for row in load(folder, "pytorch").get("encoder", [])
             if isinstance(row, dict)}
    kinds = (("sparse fp16", "encoder-sparse-fp16", "planned-sparse", "f32"),
             ("sparse int8", "encoder-sparse-int8-fp16", "planned-sparse-int8", "dense int8"),
             ("dense fp16", "encoder-dense-fp16", None, "f32"), ("dense int8", "encoder-dense-int8-fp16", None, "f32"),
             ("sparse bf16", "encoder-sparse-bf16", None, "f32"), ("dense bf16", "encoder-dense-bf16", None, "f32"),
             ("sparse fp8", "encoder-sparse-fp8", None, "f32"), ("dense fp8", "encoder-dense-fp8", None, "f32"))
    rows, found = [], {}
    for name, plain, planned, other in kinds:
        usual = bench_rows(load(folder, plain))
        for batch, tokens in ENCODER:
            row = usual.get((batch, tokens))
            if row is None:
                continue
            with_plans = {}
            if planned:
                with_plans = bench_rows(load(folder, f"{planned}-{batch}x{tokens}")).get((batch, tokens), {})
            found[name, batch, tokens] = with_plans or row
            plan_ratio = with_plans.get("against", {}).get("ratio")
            rows.append((name, f"{batch} x {tokens}", number(row["median_ms"]), number(row["against"]["ratio"]), other,
                         number(with_plans.get("median_ms")), number(plan_ratio), number(flash.get((batch, tokens)))))
    header = ("BERT-base", "batch", "ms", "ratio", "over", "ms with plans", "ratio", "PyTorch fp16 flash ms (device alone)")
    table("Encoder", header, rows)
    return found


def verdict(values, goal):
    if not values:
        return "not measured"
    met = "met" if min(values) >= goal else "not met"
    return f"{min(values):.2f} to {max(values):.2f} (cases: {len(values)}): {met}"


def goals(measured, encoder):
    rows = []
    for name in ("fp16", "int8"):
        large = [dense / us for n, k, m, _, us, dense, _ in measured[name] if min(n, k, m) >= 4096 and us and dense]
        rows.append((f"{name} product over cuBLASLt's best, n, k and rows of 4096 and more", "1.6", verdict(large, 1.6)))
        small = [wrapper / us for _, _, m, _, us, _, wrapper in measured[name] if m <= 64 and us and wrapper]
        rows.append((f"{name} product over PyTorch's wrapper, up to 64 rows", "3", verdict(small, 3)))
    for name, over, goal in (("sparse int8", "dense int8", 1.4), ("sparse fp16", "f32", 4)):
        values = [row["against"]["ratio"] for key, row in encoder.items() if key[0] == name]
        rows.append((f"BERT-base, {name} over {over}", str(goal), verdict([v for v in values if v], goal)))
    table("Goals", ("of", "goal", "measured"), rows)


def main():
    folder = pathlib.Path(sys.argv[1])
    summary = load(folder, "summary")
    print(f"# {summary.get('gpu', 'No GPU')}")
    measured = dict(products(folder))
    goals(measured, encoders(folder))


if __name__ == "__main__":
    main()
