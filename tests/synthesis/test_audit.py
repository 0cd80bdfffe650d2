"""Counts of shards add up; measures have the mean of all texts."""

from __future__ import annotations

import pytest

from megatron_sbp.planning.index_layout import IndexPlan
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.audit import Audit
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.rule_names import VERDICTS

ROW = {"tokens": 10, "finished": True, "text": "x" * 700}


def test_measures_of_shards_are_joined_and_the_error_is_that_of_the_mean_text():
    rules, plan = Filter(max_corpus_copying=0.5), IndexPlan(1000, 2, 6, 0)
    total = Audit(rules)
    for share, sampled, verdict in ((0.1, 20, PASSED), (0.9, 40, VERDICTS.index("corpus_copying")), (None, 0, PASSED)):
        part = Audit(rules)
        part.add(ROW, verdict, 9, {"corpus_copying": share, "corpus_shingles": sampled})
        total.join(part.counted())
    found = total.summary(plan)
    assert (found["generations"], found["kept"], found["tokens"]) == (3, 2, 18)
    assert found["dropped"]["corpus_copying"] == 1 and len(found["examples"]["corpus_copying"]) == 1
    [example] = found["examples"]["corpus_copying"]
    assert example["measured"]["corpus_copying"] == 0.9 and example["limit"] == 0.5 and example["text"] == "x" * 700
    assert found["measured"]["corpus_copying"] == {
        "documents": 2,
        "mean": pytest.approx(0.5),
        "sampled": 0.25,
        "standard_error_at_limit": pytest.approx((0.25 / 20 * 0.75) ** 0.5),
    }
    assert found["measured"]["corpus_shingles"] == {"documents": 3, "mean": 20}


def test_without_further_rules_an_audit_is_what_it_was():
    assert "measured" not in Audit(Filter()).counted() and "measured" not in Audit(Filter()).summary(None)
