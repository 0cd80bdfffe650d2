"""Counts by rule, from the audits of several stages."""

from __future__ import annotations

import pytest

from megatron_sbp.report.audits import dropped_by_rule


@pytest.mark.parametrize(
    ("audit", "rules"),
    [
        ({"dropped": {"too_short": 3, "near_duplicate_text": 0}}, {"too short": 3, "near duplicate text": 0}),
        ({"dropped": {"empty": {"count": 4, "examples": ["x"]}, "bad": {"documents": 2}}}, {"empty": 4, "bad": 2}),
        ({"dropped": {"said": "nothing", "unknown": {"examples": []}}}, {"unknown": 0}),
        ({"dropped": 7}, {"all rules": 7}),
        ({"dropped": {}}, {}),
        ({"dropped": None}, {}),
        ({"kept": 9}, {}),
        (None, {}),
    ],
)
def test_numbers_of_every_rule(audit, rules):
    assert dropped_by_rule(audit) == rules
