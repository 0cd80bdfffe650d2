"""The order in which rules drop documents, and what their verdicts on disk mean."""

from __future__ import annotations

import pytest

from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.rule_names import FURTHER_RULES, RULES, TOKEN_RULES, VERDICTS, further_names, rule_names


def test_verdicts_of_earlier_versions_stay_right():
    """New ones follow; none of these moves."""
    assert VERDICTS[:12] == (
        "broken_text", "too_short", "unfinished", "repetition", "copying", "duplicate",
        "corpus_copying", "contaminated", "predicate", "similarity", "token_repetition", "periodic_tail",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "further"),
    [
        ({}, ()),
        ({"min_similarity": 0.2}, ("similarity",)),
        ({"contaminated": "keep", "max_corpus_copying": 0.5}, ("corpus_copying", "contaminated")),
        (
            {"min_similarity": 0.0, "predicate": "a.py:f", "contaminated": "drop", "max_corpus_copying": 0.0},
            FURTHER_RULES,
        ),
    ],
)
def test_the_rules_of_a_recipe_in_their_order(asked, further):
    """A limit of zero is asked for too; duplicates are found last, among what all others passed."""
    assert further_names(Filter(**asked)) == further
    assert rule_names(Filter(**asked)) == (*RULES[:5], *further, "duplicate")
    assert len({*VERDICTS}) == len(VERDICTS) and {*rule_names(Filter(**asked))} <= {*VERDICTS}


def test_token_rules_come_after_repetition_and_only_where_asked():
    both = Filter(max_token_repetition=0.3, max_periodic_tail=0.0)
    assert rule_names(both) == (*RULES[:4], *TOKEN_RULES, *RULES[4:])
    assert rule_names(Filter(max_periodic_tail=0.1, contaminated="keep"))[4:7] == (
        "periodic_tail", "copying", "contaminated",
    )  # fmt: skip
    assert VERDICTS[-2:] == TOKEN_RULES, "verdicts on disk are places"
