from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.field_rules import compared_fields, field_rules, no_field_rules, read_field_rules
from megatron_sbp.recipe import Pairs


def test_one_rule_per_field_in_the_order_of_the_fields():
    rules = Pairs(same_fields=["language", "kind"], different_fields=["site"])
    assert compared_fields(rules) == ["language", "kind", "site"]
    values = np.array([[1, 1, 2], [5, 5, 5], [8, 9, 9]], np.uint64)
    found = field_rules(rules, values)
    assert found.equal.tolist() == [True, True, False]
    assert found.allow(np.array([0, 0, 1]), np.array([1, 2, 2])).tolist() == [True, False, False]


def test_no_rule_allows_everything_and_reads_nothing(tmp_path):
    for found in (no_field_rules(4), read_field_rules(Pairs(), [tmp_path / "nothing.jsonl.zst"], 4)):
        assert found.allow(np.array([0, 1]), np.array([3, 3])).tolist() == [True, True]
