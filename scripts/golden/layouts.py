"""The layouts: which files, names and options each has."""

from golden import models, vocabulary

ENGLISH_TEXTS = [
    "The owl of the forest sleeps by day and hunts at night.",
    "Coffee cup, unbelievably cheap!",
    "Green",
    "Where can I buy a red running shoe in 2024?",
]
CHINESE_TEXTS = ["森林里的小鸟白天睡觉。", "红色跑鞋", "在哪里可以买到咖啡杯？", "mini台灯 2年保修"]
MULTILINGUAL_TEXTS = [
    "Der kleine Vogel schläft, naïve café",
    "Красная лиса",
    "Η γάτα και ο σκύλος",
    "東京 고양이 قطة बिल्ली",
]
PAIR_TEXTS = [
    ("red running shoe", "This red running shoe is light and easy to clean."),
    ("forest bird", "Scientists have discovered a new fish."),
    ("desk lamp", "Lamp"),
    ("city cat", "Life in the city: why the cat is never alone."),
]


def _layouts():
    large, small = models.LARGE, models.SMALL
    return {
        "bert-cased": {
            "size": small, "architecture": "BertForMaskedLM", "prefix": "bert.", "old_names": True,
            "masked_lm_head": True, "tokenizer": {"do_lower_case": False}, "texts": ENGLISH_TEXTS},
        "bert-uncased": {
            "size": small, "architecture": "BertModel", "prefix": "bert.", "tokenizer": {}, "texts": ENGLISH_TEXTS},
        "bert-chinese": {
            "size": small, "architecture": "BertForMaskedLM", "prefix": "bert.", "masked_lm_head": True,
            "old_names": True, "tokenizer": {"do_lower_case": False}, "texts": CHINESE_TEXTS},
        "minilm": {
            "size": small, "architecture": "BertModel", "pooling": "mean", "steps": True, "tokenizer_json": "both", "tokenizer": {},
            "texts": ENGLISH_TEXTS},
        "bge": {
            "size": small, "architecture": "BertModel", "pooling": "cls", "tokenizer_json": "both", "tokenizer": {},
            "special_as_objects": True, "texts": ENGLISH_TEXTS},
        "multilingual": {
            "size": small, "architecture": "BertModel", "tokenizer_json": "only", "special_as_objects": True,
            "tokenizer": {"strip_accents": False}, "texts": MULTILINGUAL_TEXTS},
        "cross-encoder": {
            "size": large, "architecture": "BertForSequenceClassification", "num_labels": 3, "labels": [2, 0, 1, 2],
            "label_names": ["none", "one", "both"], "tokenizer": {}, "texts": PAIR_TEXTS},
        "cross-encoder-regression": {
            "size": small, "architecture": "BertForSequenceClassification", "num_labels": 1,
            "labels": [1.0, 0.0, 0.5, 0.75], "config": {"hidden_act": "gelu_new"}, "tokenizer": {},
            "texts": PAIR_TEXTS},
    }


def _all_texts(rows, more):
    return [text for q, d, _ in rows for text in (q, d)] + list(more)


def _vocabularies(uncased, chinese, english_rows, chinese_rows):
    english = _all_texts(english_rows, ENGLISH_TEXTS + [text for pair in PAIR_TEXTS for text in pair])
    small = vocabulary.subset(uncased, english, lowercase=True)
    accents = ["ä", "é", "ï", "ά", "ύ", "##ä", "##é", "##ï", "##ά", "##ύ", "고", "##양", "##이", "ق", "##ط", "##ة"]
    return {
        "bert-cased": vocabulary.cased_subset(uncased, english),
        "bert-chinese": vocabulary.subset(chinese, _all_texts(chinese_rows, CHINESE_TEXTS), lowercase=False),
        "multilingual": vocabulary.subset(uncased, MULTILINGUAL_TEXTS, accents, lowercase=True),
    }, small


def write_all(out, uncased, chinese, english_rows, chinese_rows, seed):
    own, english = _vocabularies(uncased, chinese, english_rows, chinese_rows)
    for i, (name, layout) in enumerate(_layouts().items()):
        models.write(out / name, layout, own.get(name, english), seed + 10 * i)
