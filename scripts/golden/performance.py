#!/usr/bin/env python3
"""Writes tests/golden/performance.json: correlations and NDCG of SciPy and scikit-learn on small random lists.

Made with scipy 1.17.1, scikit-learn 1.9.1; needs both. Usage: scripts/golden/performance.py
"""

import json
import pathlib
import random

import numpy
from scipy import stats
from sklearn.metrics import ndcg_score

OUT = pathlib.Path(__file__).parents[2] / "tests/golden/performance.json"


def case(rng, n, levels):
    """Lists of n values between 0 and 1, with ties where there are few levels."""
    actual = [round(rng.randrange(levels) / (levels - 1), 6) for _ in range(n)]
    predicted = [round(rng.randrange(levels) / levels + 0.5 * a, 6) for a in actual]
    ranks = [stats.rankdata(values) for values in (predicted, actual)]
    return {
        "predicted": predicted, "actual": actual,
        "pearson": stats.pearsonr(predicted, actual).statistic,
        "spearman": stats.spearmanr(predicted, actual).statistic,
        "kendall": stats.kendalltau(predicted, actual).statistic,
        "smare": float(numpy.mean(numpy.abs(ranks[0] - ranks[1])) / n),
        # scikit-learn averages over the orders of tied predictions; without ties there is one.
        "ordered_ndcg": ndcg_score([actual], [predicted]) if len(set(predicted)) == n else None,
    }


def main():
    rng = random.Random(11)
    cases = [case(rng, n, levels) for n, levels in ((5, 1000), (40, 100_000), (60, 7), (200, 1_000_000), (33, 3))]
    OUT.write_text(json.dumps({"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
