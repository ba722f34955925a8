#!/usr/bin/env python3
"""The frozen tasks in data/: files are those that SOURCE.txt names, and keep the promises that it makes."""

import collections
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "data"
sys.path.insert(0, str(ROOT / "scripts"))
import taskdata  # noqa: E402


def content(path):
    return subprocess.run(["zstdcat", path], check=True, capture_output=True).stdout


def texts(task, name):
    rows = [json.loads(line) for line in content(DATA / task / f"{name}.jsonl.zst").decode().splitlines()]
    return {row["_id"]: row["text"] for row in rows}


def judged(task, part):
    labels = collections.defaultdict(dict)
    for line in content(DATA / task / "qrels" / f"{part}.tsv.zst").decode().splitlines()[1:]:
        query, document, label = line.split("\t")
        labels[query][document] = int(label)
    return labels


class Frozen(unittest.TestCase):
    def test_files_have_the_hashes_of_their_source(self):
        tasks = sorted(path.parent for path in DATA.glob("*/SOURCE.txt"))
        self.assertEqual([task.name for task in tasks], ["apt-search", "emoji-pictures", "icecat-search", "wordnet-senses"])
        for task in tasks:
            named = dict(reversed(line.split("  ")) for line in re.findall(
                r"^[0-9a-f]{64}  \S+$", (task / "SOURCE.txt").read_text(encoding="utf-8"), re.M))
            found = {str(path.relative_to(task))[:-4]: hashlib.sha256(content(path)).hexdigest()
                     for path in task.rglob("*.zst")}
            found |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in task.glob("*.png")}
            self.assertEqual(found, named, task.name)

    def test_parts_share_no_query(self):
        for task in ("apt-search", "wordnet-senses"):
            parts = [set(judged(task, part)) for part in ("train", "dev", "test")]
            self.assertEqual(len(set().union(*parts)), sum(map(len, parts)), task)


class WordNetSenses(unittest.TestCase):
    def setUp(self):
        self.queries, self.definitions = texts("wordnet-senses", "queries"), texts("wordnet-senses", "corpus")
        self.parts = {part: judged("wordnet-senses", part) for part in ("train", "dev", "test")}

    def test_one_of_four_definitions_is_right_and_at_most_once(self):
        answers = []
        for labels in (labels for part in self.parts.values() for labels in part.values()):
            self.assertEqual(sorted(labels.values()), [0, 0, 0, 1])
            answers += [document for document, label in labels.items() if label]
        self.assertEqual(len(answers), len(set(answers)))

    def test_context_is_in_no_candidate(self):
        for query, labels in (item for part in self.parts.values() for item in part.items()):
            context = self.queries[query].split(", ")[1][:5]
            for document in labels:
                self.assertNotIn(context, [word[:5] for word in taskdata.words(self.definitions[document])])

    def test_train_shares_neither_words_nor_definitions(self):
        def words(part):
            return {self.queries[query].split(",")[0] for query in self.parts[part]}

        def used(part):
            return {self.definitions[document] for labels in self.parts[part].values() for document in labels}
        for part in ("dev", "test"):
            self.assertFalse(words("train") & words(part))
            self.assertLess(len(used("train") & used(part)), 20)  # other senses with the same words


class AptSearch(unittest.TestCase):
    def test_hard_half_is_the_half_that_bm25_ranks_worst(self):
        labels, ranked = judged("apt-search", "test"), collections.defaultdict(list)
        for line in content(DATA / "apt-search/bm25.test.run.zst").decode().splitlines():
            query, _, document, *_ = line.split()
            ranked[query].append(labels[query][document])
        ndcg = {query: taskdata.ndcg(found) for query, found in ranked.items()}
        hard = set(judged("apt-search", "test-hard"))
        self.assertEqual(len(hard), 240)
        self.assertLessEqual(max(ndcg[q] for q in hard), min(ndcg[q] for q in ndcg if q not in hard))

    def test_labels_follow_from_tags(self):
        tags = {}
        for kind in ("documents", "queries"):
            for line in content(DATA / f"apt-search/tags/{kind}.tsv.zst").decode().splitlines():
                i, held = line.split("\t")
                tags[i] = set(held.split())
        for part in ("train", "dev", "test"):
            for query, labels in judged("apt-search", part).items():
                for document, label in labels.items():
                    self.assertEqual(label, len(tags[query] & tags[document]))


class IcecatSearch(unittest.TestCase):
    def test_every_query_is_tested_once_by_models_that_never_saw_it(self):
        tested = collections.Counter()
        for fold in range(1, 6):
            train, dev, test = (set(judged("icecat-search", f"fold{fold}.{part}")) for part in ("train", "dev", "test"))
            self.assertFalse(train & dev or train & test or dev & test)
            tested.update(test)
        self.assertEqual(tested, collections.Counter(list(judged("icecat-search", "test"))))

    def test_every_query_has_two_grades(self):
        for labels in judged("icecat-search", "test").values():
            self.assertGreater(len(set(labels.values())), 1)


class EmojiPictures(unittest.TestCase):
    def setUp(self):
        self.parts = {part: [line.split("\t") for line in content(DATA / f"emoji-pictures/{part}.tsv.zst").decode().splitlines()]
                      for part in ("train", "dev", "test")}
        for rows in self.parts.values():
            self.assertEqual(rows.pop(0), ["query", "document", "label", "kind", "emoji"])

    def test_pictures_are_64_of_1024_tokens(self):
        for rows in self.parts.values():
            for picture, prompt, *_ in rows:
                self.assertEqual(len(picture), 64, prompt)
                self.assertTrue(all(0x3400 <= ord(token) < 0x3400 + 1024 for token in picture), prompt)

    def test_training_has_no_picture_of_dev_or_test(self):
        trained = {row[0] for row in self.parts["train"]}
        names = {row[1] for row in self.parts["train"]}
        for part in ("dev", "test"):
            self.assertFalse(trained & {row[0] for row in self.parts[part]})
            self.assertFalse(names & {row[1] for row in self.parts[part]})

    def test_prompts_of_the_sheet_are_half_known_and_half_held_out(self):
        prompts = (ROOT / "apps/pictures/prompts.txt").read_text().splitlines()
        names = {part: {row[1] for row in rows} for part, rows in self.parts.items()}
        half = len(prompts) // 2
        self.assertTrue(set(prompts[:half]) <= names["train"])
        self.assertTrue(set(prompts[half:]) <= names["test"])


class Builders(unittest.TestCase):
    def test_icecat_without_its_source_is_refused_by_name(self):
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run([ROOT / "scripts/build-icecat-search", folder, "--out", folder + "/out"],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 1)
            self.assertIn("Broad_Query_Set_rated.csv is missing", result.stderr)
            self.assertFalse(pathlib.Path(folder, "out").exists())

    def test_wordnet_without_its_package_names_the_command(self):
        with tempfile.TemporaryDirectory() as folder:
            apt = pathlib.Path(folder, "apt-get")
            apt.write_text("#!/bin/sh\nexit 100\n")
            apt.chmod(0o755)
            result = subprocess.run(
                [ROOT / "scripts/build-wordnet-senses", "--wordnet", folder + "/none", "--out", folder + "/out"],
                capture_output=True, text=True, env={"PATH": f"{folder}:/usr/bin:/bin"})
            self.assertEqual(result.returncode, 1)
            self.assertIn("apt-get install wordnet-base", result.stderr)

    def test_a_failed_download_names_package_and_command(self):
        with tempfile.TemporaryDirectory() as folder:
            apt = pathlib.Path(folder, "apt-get")
            apt.write_text("#!/bin/sh\nexit 100\n")
            apt.chmod(0o755)
            result = subprocess.run(
                ["python3", "-c", f"import taskdata; taskdata.unpack('debtags', 'none', '{folder}')"],
                capture_output=True, text=True, cwd=ROOT / "scripts", env={"PATH": f"{folder}:/usr/bin:/bin"})
            self.assertEqual(result.returncode, 1)
            self.assertNotIn("Traceback", result.stderr)
            self.assertIn("apt-get install debtags", result.stderr)

    def test_bm25_by_hand(self):
        scores = taskdata.Bm25({"a": "red car", "b": "blue car car", "c": "tree"}).scores("car")
        # idf = ln(1 + 1.5 / 2.5); a: 2.2 / (1 + 1.2), b: 4.4 / (2 + 1.2 (0.25 + 0.75 * 1.5)).
        self.assertEqual(scores, {"a": 0.47, "b": 0.567})


if __name__ == "__main__":
    unittest.main()
