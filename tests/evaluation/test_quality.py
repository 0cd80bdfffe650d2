"""Quality figures on texts whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.files import write_jsonl_zst
from megatron_sbp.evaluation import quality
from megatron_sbp.evaluation.quality import copying, cosines, duplicates, other_seeds, repetition
from megatron_sbp.evaluation.row_choice import choose
from megatron_sbp.pairing.document_rows import rows_of

LOOP = "the same words again and " * 20
PLAIN = "every word of this sentence appears in it only once so nothing can repeat here at all"


def unlike(count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(f"w{number}" for number in random.integers(0, 5000, 60)) for _ in range(count)]


def test_a_looping_text_is_counted_as_repetition():
    found = repetition([LOOP, PLAIN, PLAIN, PLAIN] * 20, 0.3, 1)
    assert found["repetition"] == 0.25
    assert 0.2 < found["repetition_mean"] < 0.25
    low, high = found["intervals"]["repetition_mean"]
    # Of 80 documents, a quarter at 0.96: a standard error of 0.047.
    assert low == pytest.approx(found["repetition_mean"] - 0.092, abs=0.02)
    assert high == pytest.approx(found["repetition_mean"] + 0.092, abs=0.02)
    none = repetition([PLAIN] * 50, 0.3, 1)
    assert none["repetition_mean"] == 0 < none["intervals"]["repetition_mean"][1] < 0.1
    assert repetition([], 0.3, 1) == {
        "repetition": None, "repetition_mean": None, "intervals": {"repetition_mean": None},
    }  # fmt: skip


def test_near_duplicates_are_found_by_both_figures():
    texts = unlike(40)
    altered = [text.replace(text.split()[30], "changed", 1) for text in texts[:10]]
    found = duplicates(texts + altered, pairs=100_000, threshold=0.7, seed=1)
    assert found["duplicate"] == pytest.approx(10 / 50)
    assert found["duplicate_documents"] == 50
    assert found["duplicate_pairs"] == 50 * 49 // 2  # all there are
    assert found["duplicate_pairs_share"] == pytest.approx(10 / (50 * 49 / 2))
    low, high = found["intervals"]["duplicate_pairs_share"]
    assert 3 / 1225 < low < 10 / 1225 < high < 30 / 1225


def test_unlike_texts_are_no_duplicates_and_random_pairs_are_pairs_of_two():
    found = duplicates(iter(unlike(100)), pairs=300, threshold=0.7, seed=1)
    assert found["duplicate"] == 0.0 and found["duplicate_pairs_share"] == 0.0 and found["duplicate_pairs"] == 300
    first, second = quality._random_pairs(100, 300, 1)
    assert (first != second).all() and first.max() < 100 and second.max() < 100
    alone = duplicates([PLAIN], pairs=10, threshold=0.7, seed=1)
    assert alone["duplicate"] is None and alone["intervals"] == {"duplicate_pairs_share": None}


def test_copies_of_the_seed_are_counted():
    random = np.random.default_rng(2)
    seeds = [random.integers(0, 1000, 100) for _ in range(4)]
    texts = [
        seeds[0][:60],  # a piece of the seed
        random.integers(0, 1000, 60),
        np.concatenate([random.integers(0, 1000, 50), seeds[2][:14]]),  # 2 of 52 shingles
        np.concatenate([seeds[3][:40], random.integers(0, 1000, 10)]),  # most of it
    ]
    assert copying(texts, seeds, 13, 0.15) == 0.5
    assert copying(texts, seeds[::-1], 13, 0.15) == 0.0
    assert copying([], [], 13, 0.15) is None


def test_another_seed_is_never_the_own_one():
    rows = np.array([5, 5, 5, 7, 7, 9])
    for seed in range(20):
        others = other_seeds(rows, seed)
        assert (rows[others] != rows).all()
    assert other_seeds(np.array([3, 3]), 1).tolist() == [-1, -1]
    assert other_seeds(rows, 4).tolist() == other_seeds(rows, 4).tolist()


def test_cosines():
    axes = np.eye(3, dtype=np.float16)
    assert cosines(axes, axes).tolist() == [1.0] * 3
    assert cosines(axes, axes[[1, 2, 0]]).tolist() == [0.0] * 3
    assert cosines(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)


def test_lengths():
    assert quality.lengths([]) is None
    assert quality.lengths([10, 20, 30])["mean"] == 20


def test_choice_of_rows_is_seeded_ascending_and_without_repetition(tmp_path):
    rows = choose(1000, 50, 1, 2)
    assert len(set(rows.tolist())) == 50 and (np.diff(rows) > 0).all()
    assert rows.tolist() == choose(1000, 50, 1, 2).tolist() != choose(1000, 50, 1, 3).tolist()
    assert choose(3, 50, 1, 2).tolist() == [0, 1, 2]
    shards = [tmp_path / f"{number}.jsonl.zst" for number in range(3)]
    for number, shard in enumerate(shards):
        write_jsonl_zst(shard, [{"n": number * 10 + row} for row in range(10)])
    found = dict(rows_of(shards, [25, 3, 3, 10, 99]))
    assert {number: row["n"] for number, row in found.items()} == {3: 3, 10: 10, 25: 25}
