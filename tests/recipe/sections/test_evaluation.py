"""Settings of the evaluation."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.sections import Evaluation


def test_questions_come_in_groups_of_four():
    assert Evaluation(choice_questions=4).choice_questions == 4
    with pytest.raises(ValidationError, match="choice_questions"):
        Evaluation(choice_questions=3)


def test_no_judge_and_no_benchmark_without_a_word_of_them():
    plain = Evaluation()
    assert (plain.judge, plain.judge_endpoint.base_url, plain.harness.tasks) == (None, None, [])
    named = Evaluation.model_validate({"harness": {"tasks": ["arc_easy"], "shots": {"arc_easy": 5}}})
    assert named.harness.shots == {"arc_easy": 5} and named.harness.backend == plain.harness.backend
