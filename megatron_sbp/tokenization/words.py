"""Byte-level BPE word by word: compiled code splits text into words, and only new words go to `tokenizers`.

BPE merges inside a word (pre-token) only, so a word has the same ids wherever it occurs; a few thousand words cover
most of any text.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.tokenization import word_table
from megatron_sbp.tokenization.word_table import LETTER, NUMBER, OTHER, SPACE, UNSURE

_SLICE_CHARACTERS = 1_000_000
_SPACES = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
_PLANES = 0x30000
"""First rare character: texts with characters from here on take the slow path."""


class Words:
    """Cache of the ids of words. Memory is bounded: 45 MB for 262,144 words, 30 MB for a slice of text.

    Args:
        backend: a tokenizer that `suits` accepts; it encodes new words.
    """

    def __init__(self, backend: Tokenizer):
        self._backend = backend
        self._single_digits = "Digits" in json.dumps(json.loads(backend.to_str())["pre_tokenizer"])
        self._known = word_table.empty()

    def encode(
        self, texts: Sequence[str], closing: int | None, dtype: type[np.number]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The tokenizer's ids, in the format of `indexed.flatten`.

        Args:
            texts: documents of valid Unicode.
            closing: id appended to every document, or None.
            dtype: of the tokens.

        Returns:
            tokens [sum of lengths] of that type, lengths int32 [documents].
        """
        parts: list[tuple[np.ndarray, np.ndarray]] = []
        begin = 0
        while begin < len(texts):
            end, characters = begin, 0
            while end < len(texts) and (end == begin or characters + len(texts[end]) <= _SLICE_CHARACTERS):
                characters += len(texts[end])
                end += 1
            parts.append(self._slice(texts[begin:end], closing, dtype))
            begin = end
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _slice(
        self, texts: Sequence[str], closing: int | None, dtype: type[np.number]
    ) -> tuple[np.ndarray, np.ndarray]:
        joined = "".join(texts)
        characters = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        entries, counts, places, begins, stops = word_table.cut(
            characters, ends, classes(), self._single_digits, self._known
        )
        numbers: dict[str, int] = {}
        wanted = np.empty(len(places), np.int64)
        first = np.empty(len(places), np.int64)  # position of each new word
        for row, (begin, stop) in enumerate(zip(begins.tolist(), stops.tolist(), strict=True)):
            number = wanted[row] = numbers.setdefault(joined[begin:stop], len(numbers))
            if number == len(numbers) - 1:
                first[number] = row
        encodings = self._backend.encode_batch_fast(list(numbers), add_special_tokens=False) if numbers else []
        ids = [encoding.ids for encoding in encodings]
        new_ends = np.cumsum([len(one) for one in ids], dtype=np.int64)
        new_ids = np.array([one for word in ids for one in word], np.int32)
        rows = first[: len(numbers)]
        new = new_ids, new_ends
        word_table.learn(characters, begins[rows], stops[rows], new, self._known)
        entries[places] = -1 - wanted
        lengths = word_table.lengths(entries, counts, new_ends, self._known)
        lengths += closing is not None
        tokens = np.empty(int(lengths.sum(dtype=np.int64)), dtype)
        word_table.write((entries, counts), new, self._known, -1 if closing is None else closing, tokens)
        return tokens, lengths


def suits(backend: Tokenizer) -> bool:
    """Whether a tokenizer splits words like `word_table.cut`: byte-level BPE by GPT-2's rule, with or without cutting
    before every digit, no normalization, nothing added, and no token matched before splitting."""
    described: JsonObject = json.loads(backend.to_str())
    model, cutting = described["model"], described["pre_tokenizer"] or {}
    steps = cutting.get("pretokenizers", []) if cutting.get("type") == "Sequence" else [cutting]
    kinds = [step.get("type") for step in steps]
    return (
        model.get("type") == "BPE"
        and not model.get("dropout")
        and described["normalizer"] is None
        and described["post_processor"] is None
        and described["truncation"] is None
        and kinds in (["ByteLevel"], ["Digits", "ByteLevel"])
        and steps[0].get("individual_digits", True)
        and not steps[-1].get("add_prefix_space")
        and bool(steps[-1].get("use_regex", True))
        and bool(backend.encode_special_tokens)
        and all(token["special"] for token in described["added_tokens"])
    )


@functools.cache
def classes() -> np.ndarray:
    """uint8 [characters]: the class of every character below U+30000 in GPT-2's rule.

    Libraries use different versions of Unicode. A letter or number that is not in the table of 2002, a character
    without a category, or one whose category has changed is UNSURE.
    """
    found = np.full(_PLANES, UNSURE, np.uint8)
    for number in range(_PLANES):
        character = chr(number)
        kind = _kind(number, unicodedata.category(character))
        former = unicodedata.ucd_3_2_0.category(character)
        if kind == _kind(number, former) or (kind == OTHER and former == "Cn" and _assigned(character)):
            found[number] = kind
    found[0xD800:0xE000] = UNSURE
    return found


def _assigned(character: str) -> bool:
    return unicodedata.category(character) != "Cn"


def _kind(number: int, category: str) -> int:
    if number in _SPACES:
        return SPACE
    if category == "Cn" or (category.startswith("Z") and number not in _SPACES):
        return UNSURE
    return {"L": LETTER, "N": NUMBER}.get(category[0], OTHER)
