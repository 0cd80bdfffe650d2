"""Counts of what passes, beside the shards, and how many shards they say it takes."""

from __future__ import annotations

import pytest

from megatron_sbp.synthesis.passing import (
    Passing,
    as_counts,
    drop_passing,
    read_passing,
    shards_needed,
    write_passing,
)


@pytest.mark.parametrize(
    ("known", "target", "expected", "needed"),
    [
        ({}, 1_000, 100.0, 10),  # nothing is known: what is expected
        ({}, 1_001, 100.0, 11),
        ({0: 250}, 1_000, 100.0, 4),  # others are taken to hold as much
        ({0: 250, 1: 150}, 1_000, 100.0, 5),
        ({0: 600, 1: 300, 2: 100}, 1_000, 1.0, 3),  # exactly enough
        ({0: 600, 1: 300, 2: 99}, 1_000, 1.0, 4),
        ({0: 600, 1: 500, 2: 700}, 1_000, 1.0, 2),  # the third was begun beside the second, and is not needed
        ({0: 600, 2: 700}, 1_000, 1.0, 2),  # the second holds 650, as far as is known
        ({0: 600, 3: 1}, 1_000, 1.0, 3),
        ({0: 0}, 1_000, 100.0, 11),  # no text passed yet
    ],
)
def test_shards_needed(known, target, expected, needed):
    assert shards_needed(known, target, expected) == needed


def test_counts_are_read_back_under_the_same_rules(tmp_path):
    first, second = tmp_path / "00000.jsonl.zst", tmp_path / "00012.jsonl.zst"
    write_passing(first, "strict", Passing(64, 50, 900, 1_200))
    write_passing(second, "loose", Passing(64, 60, 1_100, 1_200))
    assert read_passing(tmp_path, "strict") == {0: Passing(64, 50, 900, 1_200)}
    assert read_passing(tmp_path, "loose") == {12: Passing(64, 60, 1_100, 1_200)}
    write_passing(first, "loose", Passing(64, 61, 1_120, 1_200))
    assert read_passing(tmp_path, "loose").keys() == {0, 12} and not read_passing(tmp_path, "strict")
    drop_passing(first)
    drop_passing(first)
    assert read_passing(tmp_path, "loose").keys() == {12}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rules": "r"}', '{"rules": "r", "counts": [1, 2, 3]}'])
def test_something_else_in_the_place_of_counts_is_no_count(tmp_path, text):
    (tmp_path / ".00000.jsonl.zst.passing").write_text(text)
    assert read_passing(tmp_path, "r") == {}


def test_counts_are_four_whole_numbers():
    assert as_counts([4, 3, 2, 1]) == Passing(4, 3, 2, 1)
    for other in (None, {}, [4, 3, 2], [4, 3, 2, 1, 0], [4, 3, 2, 1.0], [4, 3, 2, True]):
        assert as_counts(other) is None
