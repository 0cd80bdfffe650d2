from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.tokenizer import TextTokenizer

FOLDOC = Path(__file__).parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"
ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}


@pytest.fixture(scope="session")
def foldoc() -> list[str]:
    """The first 400 documents of the quick start's corpus."""
    return [row["text"] for row in itertools.islice(files.read_jsonl_zst(FOLDOC), 400)]


@pytest.fixture(scope="session")
def tokenizer(foldoc: list[str]) -> TextTokenizer:
    return train_bpe(foldoc, 1000, ROLES)


def random_texts(count: int, seed: int = 1) -> list[str]:
    """Texts of random Unicode: every plane, control characters, no surrogates, no NUL."""
    draw = random.Random(seed)
    ranges = [(0x1, 0x7F), (0x20, 0x7E), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]

    def character() -> str:
        return chr(draw.randint(*draw.choice(ranges)))

    return ["".join(character() for _ in range(draw.randint(1, 60))) for _ in range(count)]
