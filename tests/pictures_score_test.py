#!/usr/bin/env python3
"""The formulas of apps/pictures/score, against SciPy's and by hand. Needs scripts/requirements/pictures.txt."""

import importlib.machinery
import importlib.util
import pathlib
import unittest

import numpy as np
from scipy.linalg import sqrtm

PATH = str(pathlib.Path(__file__).parent.parent / "apps/pictures/score")
loader = importlib.machinery.SourceFileLoader("score", PATH)
score = importlib.util.module_from_spec(importlib.util.spec_from_loader("score", loader))
loader.exec_module(score)


class Frechet(unittest.TestCase):
    def setUp(self):
        random = np.random.default_rng(3)
        self.a = random.normal(size=(200, 6)) @ random.normal(size=(6, 6))
        self.b = random.normal(size=(150, 6)) + 0.5

    def test_is_the_formula_with_the_root_of_a_matrix(self):
        cov_a, cov_b = np.cov(self.a, rowvar=False), np.cov(self.b, rowvar=False)
        want = ((self.a.mean(0) - self.b.mean(0))**2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
        self.assertAlmostEqual(score.frechet(self.a, self.b), want, places=6)
        self.assertAlmostEqual(score.frechet(self.b, self.a), want, places=6)

    def test_of_a_set_and_itself_is_nothing(self):
        self.assertAlmostEqual(score.frechet(self.a, self.a), 0, places=6)

    def test_of_a_shifted_set_is_the_shift(self):
        shift = np.arange(6) / 4
        self.assertAlmostEqual(score.frechet(self.a, self.a + shift), (shift**2).sum(), places=6)


class Ranks(unittest.TestCase):
    def test_equal_pictures_and_those_of_one_name_count_once(self):
        real = np.array([[0.0], [1.0], [1.0], [2.0], [3.0]])
        names = ["cat", "dog", "wolf", "cat", "owl"]
        texts = ["a", "b", "b", "c", "d"]
        drawn = np.array([[0.1], [0.1], [0.1], [2.9]])
        ranks = score.ranks(drawn, ["cat", "wolf", "owl", "cat"], real, names, texts)
        # From 0.1: a (cat), b (dog and wolf, one picture), c (cat), d (owl). From 2.9: d, c.
        self.assertEqual(list(ranks), [1, 2, 4, 2])


class Others(unittest.TestCase):
    def test_are_as_many_of_each_kind_and_none_of_the_chosen(self):
        kinds = np.array(["flag"] * 10 + ["thing"] * 20)
        chosen = np.array([0, 1, 2, 12, 13])
        others = score.others_like(chosen, kinds)
        self.assertEqual(sorted(kinds[others]), sorted(kinds[chosen]))
        self.assertFalse(set(others) & set(chosen))
        self.assertEqual(len(set(others)), 5)


if __name__ == "__main__":
    unittest.main()
