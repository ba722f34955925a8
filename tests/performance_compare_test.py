#!/usr/bin/env python3
"""The formulas of apps/performance/compare, which never sorts a resample, against ones that do."""

import importlib.machinery
import importlib.util
import math
import pathlib
import random
import unittest

PATH = str(pathlib.Path(__file__).parent.parent / "apps/performance/compare")
loader = importlib.machinery.SourceFileLoader("compare", PATH)
compare = importlib.util.module_from_spec(importlib.util.spec_from_loader("compare", loader))
loader.exec_module(compare)


def mean(x):
    return sum(x) / len(x)


def pearson(x, y):
    spread = math.sqrt(sum((a - mean(x))**2 for a in x) * sum((b - mean(y))**2 for b in y))
    return sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y)) / spread


def ranks(x):
    return [mean([place for place, b in enumerate(sorted(x), 1) if b == a]) for a in x]


def ordered_ndcg(x, y):
    def dcg(gains):
        return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))
    return dcg([b for _, b in sorted(zip(x, y), key=lambda pair: -pair[0])]) / dcg(sorted(y, reverse=True))


class Measures(unittest.TestCase):
    def test_are_those_of_the_resample_written_out(self):
        source = random.Random(7)
        labels = [source.choice((0.2, 0.5, 0.63, 1.0)) for _ in range(40)]  # with ties, as WordNet's
        predicted = [label + source.gauss(0, 0.3) for label in labels]
        for _ in range(20):
            drawn = [0] * len(labels)
            for query in source.choices(range(len(labels)), k=len(labels)):
                drawn[query] += 1
            x, y = ([value for value, times in zip(values, drawn) for _ in range(times)] for values in (predicted, labels))
            found = compare.Resample(drawn, labels, compare.Values(labels)).measures(compare.Values(predicted))
            for value, want in zip(found, (pearson(x, y), pearson(ranks(x), ranks(y)), ordered_ndcg(x, y))):
                self.assertAlmostEqual(value, want)

    def test_same_predictions_differ_by_nothing(self):
        labels = [0.1, 0.4, 0.3, 0.9]
        for _, *differences in compare.bootstrap(labels, [[1, 2, 3, 5], [1, 2, 3, 5]], resamples=50)[0]:
            self.assertEqual(differences, [(0, 0, 0)] * 2)

    def test_interval_holds_the_difference(self):
        source = random.Random(5)
        labels = [source.random() for _ in range(100)]
        good, bad = ([label + noise * source.gauss(0, 1) for label in labels] for noise in (0.1, 0.6))
        for value, *differences in compare.bootstrap(labels, [good, bad], resamples=200)[0]:
            for difference, low, high in differences:
                self.assertTrue(low < difference < high < 0 < value)

    def test_percentages_are_of_each_resample(self):
        source = random.Random(6)
        labels = [source.random() for _ in range(30)]
        runs = [[label + noise * source.gauss(0, 1) for label in labels] for noise in (0.2, 0.5)]
        drawn, shares = random.Random(1), []  # as bootstrap draws
        for _ in range(41):
            chosen = drawn.choices(range(30), k=30)
            a, b = (pearson([run[i] for i in chosen], [labels[i] for i in chosen]) for run in runs)
            shares.append((b - a) / a)
        shares.sort()
        _, absolute, (_, low, high) = compare.bootstrap(labels, runs, resamples=41)[0][0]
        self.assertAlmostEqual(low, shares[1])  # 2.5 % of 40 steps
        self.assertAlmostEqual(high, shares[39])
        self.assertNotAlmostEqual(low, absolute[1] / pearson(runs[0], labels), places=3)

    def test_relative_differences(self):
        self.assertEqual([compare.relative(*pair) for pair in ((2, 1), (0, 0), (0, 1), (-2, -3))], [-0.5, 0, math.inf, -0.5])

    def test_one_prediction_for_all_is_no_number(self):
        found = compare.Resample([1] * 3, [1, 2, 3], compare.Values([1, 2, 3])).measures(compare.Values([4, 4, 4]))
        self.assertTrue(math.isnan(found[0]) and math.isnan(found[1]))


if __name__ == "__main__":
    unittest.main()
