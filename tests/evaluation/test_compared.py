"""What is looked for of the texts that a sheet compares."""

from __future__ import annotations

import json

import numpy as np

from megatron_sbp.evaluation.compared import Compared, LookedFor
from megatron_sbp.evaluation.real_text import with_seeds
from megatron_sbp.evaluation.sheet import Sampled


def sampled(text: str, own: int = -1, seed: int | None = 0) -> Sampled:
    return Sampled(text, np.arange(20, dtype=np.uint16), {"seed_row": seed}, own)


def compared() -> Compared:
    alike = {"synthetic": [sampled("a b c d")], "real": [sampled("e f g h", 7)]}
    return Compared(None, {}, alike, [sampled("i j k l", 3)])  # type: ignore[arg-type]


def test_real_text_is_looked_for_without_itself_and_held_out_text_by_shingles():
    rows = {row["text"]: row for row in compared().wanted()}
    assert rows["a b c d"]["tokens"] == list(range(20)) and rows["a b c d"]["novelty"]
    assert rows["e f g h"] == {"group": "real", "text": "e f g h", "own": 7, "tokens": None, "novelty": True}
    assert not rows["i j k l"]["novelty"] and rows["i j k l"]["own"] == -1


def test_the_digest_is_that_of_the_texts_also_from_a_file():
    rows = list(compared().wanted())
    again = LookedFor.of(json.loads(json.dumps(rows)), 13)
    assert LookedFor.of(rows, 13).digest == again.digest
    assert again.overlap.counts()["real"]["corpus_copying"].tolist() == [[0, 8]]  # 20 tokens have 8 shingles of 13
    assert len(again.novelty.counts("real")) == 1
    assert len({LookedFor.of(rows, 12).digest, LookedFor.of(rows[::-1], 13).digest, again.digest}) == 3


def test_text_without_seed_documents():
    assert with_seeds([sampled("a")]) and not with_seeds([sampled("a"), sampled("b", seed=None)])
    assert not with_seeds([])
