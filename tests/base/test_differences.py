"""Differences of JSON trees."""

from __future__ import annotations

from megatron_sbp.base.differences import differences

OLD = {"seed": 3, "train": [{"name": "real", "samples": 5}, {"name": "synthetic"}], "gone": 1, "list": [1, 2]}
NEW = {"seed": 4, "train": [{"name": "real", "samples": 6}, {"name": "synthetic"}], "new": 2, "list": [1]}


def test_every_difference_is_named_with_both_values():
    assert list(differences(OLD, NEW)) == [
        "gone was 1, is None", "list was [1, 2], is [1]", "new was None, is 2", "seed was 3, is 4",
        "train[0].samples was 5, is 6",
    ]  # fmt: skip
    assert list(differences(OLD, OLD)) == []


def test_of_a_tree_that_one_side_lacks_every_value_is_named():
    section = {"pairs": {"alpha": 0.5, "rules": {"k": 3}}}
    expected = ["pairs.alpha was None, is 0.5", "pairs.rules.k was None, is 3"]
    assert list(differences({}, section)) == expected
    assert list(differences(section, {"pairs": None})) == [
        line.replace("None, is ", "") + ", is None" for line in expected
    ]
    assert list(differences({}, section, only_common=True)) == []


def test_keys_of_one_side_can_be_left_out():
    found = list(differences(OLD, NEW, only_common=True))
    assert found == ["list was [1, 2], is [1]", "seed was 3, is 4", "train[0].samples was 5, is 6"]
