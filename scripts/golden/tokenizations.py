"""Tricky texts and what BertTokenizerFast makes of them under several options."""

import json
import random

from tokenizers import AddedToken
from transformers import BertTokenizerFast

from golden.vocabulary import SPECIAL

VARIANTS = {
    "uncased": {"do_lower_case": True},
    "cased": {"do_lower_case": False},
    "chinese": {"do_lower_case": False, "strip_accents": True},
    "multilingual": {"do_lower_case": True, "strip_accents": False},
    "no-chinese-split": {"do_lower_case": True, "tokenize_chinese_chars": False},
}

ADDED = [
    AddedToken("[ENT]", special=True, normalized=False),
    AddedToken("[ENT]2", special=True, normalized=False),
    AddedToken("<left>", special=True, normalized=False, lstrip=True),
    AddedToken("<right>", special=True, normalized=False, rstrip=True),
    AddedToken("acme", special=True, normalized=False, single_word=True),
    AddedToken("NewCo", special=False, normalized=True),
    AddedToken("naïve co", special=False, normalized=True),
]

HAND_MADE = [
    "", " ", "\t\n\r", "Hello, World!", "don't e-mail co-op", "a.b,c;d:e!f?g", "$100 + 50% = ^_^ `x` ~y~ |z| <w>",
    "HELLO İstanbul IŞIK ıslak", "Straße STRASSE ẞ ß", "ΑΣ ΣΑΣ σας ΟΔΟΣ", "ǅ ǆ Ǆ ŉ ﬁ ﬀ ſ K Å Ω", "café cafe\u0301 CAFÉ", "ñ n\u0303 Å ệ ế",
    "a\u0301\u0327b a\u0327\u0301b \u0301x", "\u0301\u0302", "x\u20dd y\u0488", "a\u200db a\u200cb a\u200bb a\ufeffb a\u2060b", "soft\u00adhyphen",
    "no\u00a0break em\u2003space ideographic\u3000space line\u2028sep para\u2029sep", "tab\there\vvt\fff\x1cfs\x85nel",
    "nul\x00byte bell\x07 del\x7f esc\x1b[0m", "\ufffd \ufffe \uffff x\ufffdy", "中文字符", "我爱Python编程3.0版", "漢字かな交じり文カタカナ",
    "你好，世界！「引用」《书》", "㐀㐁 \U00020000\U0002a6df \U0002a700 \U0002b820 \U0002b920 \U0002ceb0 \U00030000", "豈更車 \uf900 \U0002f800 \U0002fa1d",
    "한국어 텍스트 각 힣 ᄀ\u1161\u11a8", "สวัสดีครับ ภาษาไทย กำ", "ພາສາລາວ ខ្មែរ မြန်မာ བོད་ཡིག", "اللغة العربية مَرْحَبًا ﷺ ٣", "עברית שָׁלוֹם", "हिन्दी में नमस्ते कि",
    "தமிழ் తెలుగు ಕನ್ನಡ മലയാളം বাংলা", "Русский ёлка Йод Україна Ґ", "ქართული Ⴀ Ა հայերեն Հայ", "አማርኛ ፡ ።", "ᏣᎳᎩ ꭰ Ꭰ", "𐐀𐐨 𞤀𞤢 𝔘𝔫𝔦 𝐀",
    "😀 👍🏽 👨‍👩‍👧 🇩🇪 ☃️ ❤️", "½ ² ⅷ Ⅷ ① ㎏ № ™ © ® ° ± × ÷", "“quoted” ‘single’ — – … ‹›«» ¿¡ • ‰ ′ ″ ‿ ⁀ ⸮", "、。・ー〜：；（）［］｛｝", "¨ ´ ¸ ˆ ˜ ΄ ΅ `",
    "᙭ 𑇉 ᢅ ᢆ ꦽ \u1734 ່", "ੴ ৽ ౷ \u2e43 \u2e4f \U0001e95e", "\u08e2 \u0890 \U000110bd \U000110cd \U00013430 \U000e0001 \ue000 \U0010fffd", "\u0378 \u1c8a \u1c89 \ua7cb \ua7dc \U00010d50 \U00016ea0",
    "\u0344 \u0340 \u0341 \u0374 \u037e \u0387 \u2000 \u2001 \u212b \u1fef", "[SEP]", "a [SEP] b[CLS]c", "[sep] [ SEP ] [SEP", "[MASK]中[PAD]\u00e9[UNK][UNK]", "[[SEP]]", "##ing # ## #ing",
    "a" * 99, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "e\u0301" * 60, "中" * 101, "😀" * 100, "😀" * 101, "ab " * 40,
    "http://example.com/path?q=1&r=2#frag", "user@example.com", "C++ C# .NET F# a_b __init__", "1,234.56 1.2e-10 0x1F 12:34:56", "x=1;y=2;//comment",
    "acme acmes macme acme! éacme acme中 _acme", "a <left> b  <left>c", "a <right>  b<right> c", "NewCo newco NEWCO", "NAIVE CO naïve co naive cot", "[ENT][ENT] [ent]",
    "[ENT]2 [ENT]22", "<right>  <left>x", "a\u166db c\U000111c9d e\u1885f g\ua9bdh i\u1734j", "a\u1df6\u1df9 \U00011938 o\u1df9\u1df6",
]

RANGES = [(0x20, 0x17F), (0x180, 0x36F), (0x370, 0x52F), (0x530, 0x7FF), (0x900, 0xFFF), (0x1000, 0x17FF), (0x1800, 0x1FFF),
          (0x2000, 0x2BFF), (0x2E00, 0x33FF), (0x3400, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xF900, 0xFFFF), (0x10000, 0x16FFF),
          (0x1B000, 0x1FAFF), (0x20000, 0x323AF)]


def _random_texts(rng):
    for first, last in RANGES:
        for _ in range(10):
            letters = (chr(rng.randint(first, last)) for _ in range(rng.randint(3, 7)))
            yield "".join(c + rng.choice(["", "", "", " ", "\u0301", "\u0327", "Q"]) for c in letters)


def _words(tokenizer, text):
    backend = tokenizer.backend_tokenizer
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]


def _tokenizers(vocab_path):
    return {name: BertTokenizerFast(vocab_file=str(vocab_path), **options) for name, options in VARIANTS.items()}


def _write_vocabulary(path, texts):
    """Each character of any normalized text is a token, so that ids tell how a text was normalized and split."""
    base = SPECIAL + ["hello", "word", "##ing"]
    path.write_text("\n".join(base) + "\n", encoding="utf-8")
    letters = set()
    for tokenizer in _tokenizers(path).values():
        for text in texts:
            for word in _words(tokenizer, text):
                letters.update([word[0], *("##" + c for c in word[1:])])
    # U+001C and the like end a line for str.splitlines alone; a file is read by "\n".
    path.write_text("\n".join(base + sorted(letters)) + "\n", encoding="utf-8")


def _pairs(tokenizer):
    first, second = "a b c d e f g h", "s t u v w x y z Q Q Q"
    cases = []
    for n1 in (0, 1, 2, 3, 5, 8):
        for n2 in (0, 1, 2, 3, 5, 8, 11):
            for max_length in (3, 4, 5, 6, 7, 8, 9, 12, 20):
                texts = " ".join(first.split()[:n1]), " ".join(second.split()[:n2]) or " "
                encoding = tokenizer(*texts, truncation=True, max_length=max_length)
                cases.append([n1, n2, max_length, sum(1 for t in encoding["token_type_ids"] if t == 0) - 2,
                              sum(encoding["token_type_ids"]) - 1])
    return {"first": first, "second": second, "cases": cases}


def _added_cases(tokenizer, texts):
    tokenizer.backend_tokenizer.add_special_tokens([t for t in ADDED if t.special])
    tokenizer.backend_tokenizer.add_tokens([t for t in ADDED if not t.special])
    decoder = {str(tokenizer.convert_tokens_to_ids(t.content)):
               {"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized, "rstrip": t.rstrip,
                "single_word": t.single_word, "special": t.special} for t in ADDED}
    return decoder, [tokenizer.backend_tokenizer.encode(text).ids for text in texts]


def write(directory, seed):
    rng = random.Random(seed)
    texts = HAND_MADE + list(_random_texts(rng))
    _write_vocabulary(directory / "vocab.txt", texts)
    tokenizers = _tokenizers(directory / "vocab.txt")
    result = {"variants": {name: {"options": VARIANTS[name], "ids": [t.backend_tokenizer.encode(x).ids[1:-1] for x in texts]}
                           for name, t in tokenizers.items()},
              "pairs": _pairs(tokenizers["uncased"])}
    decoder, ids = _added_cases(BertTokenizerFast(vocab_file=str(directory / "vocab.txt")), HAND_MADE)
    result["added"] = {"decoder": decoder, "ids": [x[1:-1] for x in ids]}
    result["texts"] = texts
    text = json.dumps(result, separators=(",", ":"), ensure_ascii=True)
    (directory / "cases.json").write_text(text + "\n", encoding="utf-8")
