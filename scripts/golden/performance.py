#!/usr/bin/env python3
"""Writes tests/golden/performance.json: metrics of SciPy and scikit-learn on small random lists.

Made with scipy 1.17.1, scikit-learn 1.9.1; needs both. Usage: scripts/golden/performance.py
"""

import json
import pathlib
import random

import numpy
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, ndcg_score

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


def above(x, y):
    """Number of pairs of a value of x and a lower one of y. Values are halves: a quarter more and no tie counts."""
    return stats.mannwhitneyu(x, y + 0.25).statistic if len(x) and len(y) else 0


def ranking(rng, queries, n):
    """n pairs with ties of both kinds: PNR, and what predicted classes, or scores from a threshold on, get right."""
    query, label, predicted = (numpy.array([rng.randrange(k) for _ in range(n)]) for k in (queries, 4, 4))
    score = numpy.array([rng.randrange(9) / 2 + l for l in label])
    scores = [[score[(query == q) & (label == l)] for l in range(4)] for q in range(queries)]
    graded = [(of[high], of[low]) for of in scores for high in range(4) for low in range(high)]
    relevant, threshold = label >= 2, 3
    return {
        "query": query.tolist(), "label": label.tolist(), "score": score.tolist(), "predicted": predicted.tolist(),
        "pnr": sum(above(*pair) for pair in graded) / sum(above(*pair[::-1]) for pair in graded),
        "accuracy": accuracy_score(label, predicted), "f1": f1_score(relevant, predicted >= 2),
        "threshold": threshold, "threshold_accuracy": accuracy_score(relevant, score >= threshold),
        "threshold_f1": f1_score(relevant, score >= threshold),
    }


def main():
    rng = random.Random(11)
    cases = [case(rng, n, levels) for n, levels in ((5, 1000), (40, 100_000), (60, 7), (200, 1_000_000), (33, 3))]
    rankings = [ranking(rng, queries, n) for queries, n in ((1, 12), (3, 40), (20, 90))]
    OUT.write_text(json.dumps({"cases": cases, "rankings": rankings}, indent=1) + "\n")


if __name__ == "__main__":
    main()
