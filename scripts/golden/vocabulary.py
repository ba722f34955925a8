"""Small vocabularies: the part of a real one that some texts need, with single letters as a fallback."""

import string

from tokenizers import BertWordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = list(string.ascii_lowercase + string.digits)


def _tokenizer(vocab, **options):
    return BertWordPieceTokenizer({token: i for i, token in enumerate(vocab)}, **options)


def subset(vocab, texts, extra=(), **options):
    """Tokens of `vocab` that `texts` need, in the order of `vocab`; `extra` tokens come last."""
    tokenizer = _tokenizer(vocab, **options)
    wanted = set(LETTERS) | {"##" + c for c in LETTERS} | set(string.punctuation)
    for text in texts:
        wanted.update(tokenizer.encode(text, add_special_tokens=False).tokens)
    chosen = [token for token in vocab if token in wanted and token not in SPECIAL]
    return SPECIAL + chosen + [token for token in extra if token not in wanted]


def cased_subset(vocab, texts):
    """The same from a lower-cased vocabulary, with the case of `texts` restored."""
    tokenizer = _tokenizer(vocab, lowercase=True)
    wanted = set(LETTERS) | {"##" + c for c in LETTERS} | set(string.punctuation)
    wanted |= set(string.ascii_uppercase) | {"##" + c for c in string.ascii_uppercase}
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        for token, (begin, end) in zip(encoding.tokens, encoding.offsets):
            wanted.add(("##" if token.startswith("##") else "") + text[begin:end])
    return SPECIAL + sorted(wanted - set(SPECIAL))
