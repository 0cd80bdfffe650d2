"""Seeded choices of documents, and reading them from shards."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.documents.ids import write_ids
from megatron_sbp.evaluation.sampling import choose, rows_of


def test_a_choice_is_ascending_without_repeats_and_follows_from_seed_and_stream():
    found = choose(1000, 50, seed=1, stream=2)
    assert len(set(found.tolist())) == 50 and (np.diff(found) > 0).all() and found.max() < 1000
    assert np.array_equal(found, choose(1000, 50, 1, 2))
    assert not np.array_equal(found, choose(1000, 50, 2, 2)) and not np.array_equal(found, choose(1000, 50, 1, 3))


@pytest.mark.parametrize(("population", "wanted", "count"), [(0, 5, 0), (5, 5, 5), (5, 9, 5), (5, 0, 0)])
def test_all_or_nothing(population, wanted, count):
    assert choose(population, wanted, 1, 1).tolist() == list(range(population))[:count]


def test_every_row_is_equally_likely():
    counts = np.bincount(np.concatenate([choose(20, 5, seed, 1) for seed in range(2000)]), minlength=20)
    assert counts.min() > 430 and counts.max() < 570  # 500 expected, standard deviation 19


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / f"{part}.jsonl.zst" for part in range(3)]
    for path, rows in zip(paths, ([0, 1, 2], [], [3, 4]), strict=True):
        files.write_jsonl_zst(path, ({"n": row} for row in rows))
    return paths


@pytest.mark.parametrize("wanted", [[], [0], [4], [4, 0, 2], [1, 1, 3], [2, 99], range(5)])
def test_rows_over_all_shards_in_ascending_order(shards, wanted):
    found = list(rows_of(shards, wanted))
    assert found == [(number, {"n": number}) for number in sorted(set(wanted)) if number < 5]


def test_shards_behind_the_last_wanted_row_are_not_read(shards):
    shards[2].write_bytes(b"damaged")
    assert [number for number, _ in rows_of(shards, [0, 2])] == [0, 2]


def test_a_shard_without_a_wanted_row_is_not_opened_where_its_rows_are_known(tmp_path):
    paths = [tmp_path / "documents" / "train" / f"{part}.jsonl.zst" for part in range(3)]
    for number, path in enumerate(paths):
        rows = [{"id": f"{number}-{row}", "n": 2 * number + row} for row in range(2)]
        files.write_jsonl_zst(path, rows)
        with files.open_lines(path) as lines:
            write_ids(path, lines)
    for path in (paths[0], paths[2]):
        path.write_bytes(b"damaged")
    assert [row["n"] for _, row in rows_of(paths, [2, 3])] == [2, 3]
    assert list(rows_of(paths, [99])) == []
