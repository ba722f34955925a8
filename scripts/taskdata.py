"""What the scripts that build tasks share: choices by hash, BM25, files in the layout of BEIR."""

import argparse
import collections
import hashlib
import json
import math
import pathlib
import re
import subprocess
import sys

K1, B = 1.2, 0.75
HEADER = "query-id\tcorpus-id\tscore\n"


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def fail(message):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {message}")


def download_package(name, folder):
    """Unpacks a Debian package into `folder`; returns the path of its file."""
    try:
        run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name, cwd=folder, stderr=subprocess.PIPE)
    except (subprocess.CalledProcessError, FileNotFoundError):
        fail(f"the package {name} is neither installed nor can apt download it. Install it: apt-get install {name}")
    package = next(pathlib.Path(folder).glob(f"{name}_*.deb"))
    run("dpkg-deb", "--extract", package, folder)
    return package


def unpack(package, marker, folder):
    """The root of a package's files, and its version: those installed, or a copy unpacked in `folder`."""
    if (pathlib.Path("/") / marker).exists():
        return pathlib.Path("/"), run("dpkg-query", "-W", "-f", "${Version}", package, text=True)
    file = download_package(package, folder)
    return folder, file.name.split("_")[1].replace("%3a", ":")


# --- Choices ---

def digest(*key):
    return hashlib.sha256("\0".join(str(part) for part in key).encode()).digest()


def shuffled(items, *key):
    """Items in an order that only their own text and the key decide."""
    return sorted(items, key=lambda item: digest(*key, item))


# --- BM25 ---

def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


class Bm25:
    def __init__(self, documents):
        self.lengths = {}
        self.postings = collections.defaultdict(dict)
        for name, text in documents.items():
            counts = collections.Counter(words(text))
            self.lengths[name] = sum(counts.values())
            for word, count in counts.items():
                self.postings[word][name] = count
        self.mean_length = sum(self.lengths.values()) / len(self.lengths)

    def scores(self, query):
        """Of the documents that share a word with the query."""
        scores = collections.defaultdict(float)
        for word in words(query):
            postings = self.postings.get(word, {})
            idf = math.log(1 + (len(self.lengths) - len(postings) + 0.5) / (len(postings) + 0.5))
            for name, count in postings.items():
                norm = K1 * (1 - B + B * self.lengths[name] / self.mean_length)
                scores[name] += idf * count * (K1 + 1) / (count + norm)
        return {name: round(score, 3) for name, score in scores.items()}


def ndcg(labels, k=10):
    """Of labels as they are ranked; gain 2^label - 1, 0 without a positive label."""
    def dcg(ranked):
        return sum((2**label - 1) / math.log2(rank + 2) for rank, label in enumerate(ranked[:k]))
    ideal = dcg(sorted(labels, reverse=True))
    return dcg(labels) / ideal if ideal else 0.0


# --- Files ---

def content(path, remedy=""):
    """The text of a file, compressed or not."""
    if not path.is_file():
        fail(f"{path} is missing{remedy and ': ' + remedy}")
    try:
        if path.suffix != ".zst":
            return path.read_text(encoding="utf-8")
        return run("zstdcat", path, stderr=subprocess.PIPE).decode()
    except subprocess.CalledProcessError as error:
        fail(f"{path} cannot be read: {error.stderr.decode().strip()}")
    except UnicodeDecodeError:
        fail(f"{path} is not UTF-8")


def fields(path, number, separator=None, remedy=""):
    """Those of each line, of which all have as many."""
    for place, line in enumerate(content(path, remedy).splitlines(), 1):
        found = line.split(separator)
        if len(found) != number:
            fail(f"{path}:{place}: expected {number} fields, found {len(found)}")
        yield found


def read_texts(path):
    """Id -> text, of BEIR's corpus or queries."""
    texts = {}
    for place, line in enumerate(content(path).splitlines(), 1):
        try:
            row = json.loads(line)
            texts[row["_id"]] = row["text"]
        except (ValueError, KeyError, TypeError):
            fail(f"{path}:{place}: expected a JSON object with _id and text")
    return texts


def read_judged(path, remedy=""):
    """Query -> document -> label, in the order of the file."""
    labels = {}
    for place, (query, document, label) in enumerate(fields(path, 3, "\t", remedy), 1):
        if place == 1:  # names of the columns
            continue
        if not label.isdecimal():
            fail(f"{path}:{place}: label '{label}' of query {query} is no whole number")
        labels.setdefault(query, {})[document] = int(label)
    return labels


def positive(text):
    """Of arguments."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def qrels(ids, judged):
    return HEADER + "".join(f"{i}\t{name}\t{label}\n" for i in ids for name, label in judged[i].items())


def ranked_lines(i, names, scores):
    """Lines of a TREC run by falling score, ties by name."""
    ranked = sorted(names, key=lambda name: (-scores.get(name, 0.0), name))
    return [f"{i} Q0 {name} {rank} {scores.get(name, 0.0):g} bm25\n" for rank, name in enumerate(ranked, 1)]


def trec_run(ids, texts, judged, bm25):
    return "".join(line for i in ids for line in ranked_lines(i, judged[i], bm25.scores(texts[i])))


def beir_files(texts, corpus, judged, parts):
    """File name -> text. texts and corpus: id -> text; judged: query -> document -> label; parts: name -> queries."""
    files = {
        "corpus.jsonl": jsonl({"_id": name, "title": "", "text": text} for name, text in corpus.items()),
        "queries.jsonl": jsonl({"_id": i, "text": text} for i, text in texts.items()),
    }
    return files | {f"qrels/{part}.tsv": qrels(ids, judged) for part, ids in parts.items()}


def count_table(files):
    rows = [f"documents {files['corpus.jsonl'].count(chr(10))}, queries {files['queries.jsonl'].count(chr(10))}"]
    for name in files:
        if not name.startswith("qrels/"):
            continue
        lines = [line.split("\t") for line in files[name].splitlines()[1:]]
        labels = collections.Counter(line[2] for line in lines)
        rows.append(f"{name[6:-4]:12} {len({line[0] for line in lines}):5} queries {len(lines):6} pairs, labels "
                    + ", ".join(f"{label}: {count}" for label, count in sorted(labels.items())))
    return "\n".join(rows)


def sha256(content):
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def hash_table(files):
    return "\n".join(f"{sha256(text)}  {name}" for name, text in sorted(files.items()))


def write(folder, files, source):
    """Every file compressed, SOURCE.txt as it is."""
    for name, text in files.items():
        path = folder / f"{name}.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        run("zstd", "-q", "-f", "--ultra", "-22", "-o", path, input=text.encode())
    (folder / "SOURCE.txt").write_text(source, encoding="utf-8")
