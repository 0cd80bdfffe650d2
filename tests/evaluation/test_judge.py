"""Which judge a recipe names."""

from __future__ import annotations

import pytest
from support.endpoint_judge import recipe_for
from support.small_recipe import small_recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.judge import load_judge
from megatron_sbp.evaluation.judge_endpoint import EndpointJudge
from megatron_sbp.evaluation.judge_function import FunctionJudge
from megatron_sbp.recipe import Documents, Evaluation, JudgeEndpoint

DOCUMENTS = Documents(inputs=["x"], train=1, valid=1, test=1)


@pytest.mark.usefixtures("judge_environment")
def test_an_endpoint_where_there_is_a_base_url():
    judge = load_judge(recipe_for("http://127.0.0.1:1/v1"))
    assert isinstance(judge, EndpointJudge)


def test_a_function_where_one_is_named_and_otherwise_none(tmp_path):
    (tmp_path / "judge.py").write_text("def say(batch):\n    return [{}] * len(batch)\n")
    recipe = small_recipe(tmp_path / "run", DOCUMENTS, evaluation=Evaluation(judge="judge.py:say"))
    recipe.source = tmp_path / "recipe.yaml"
    assert isinstance(load_judge(recipe), FunctionJudge)
    recipe.evaluation.judge = None
    assert load_judge(recipe) is None


def test_both_are_too_many(tmp_path):
    endpoint = JudgeEndpoint(base_url="http://127.0.0.1:1/v1", model="judge-1")
    evaluation = Evaluation(judge="judge.py:say", judge_endpoint=endpoint)
    with pytest.raises(InputError) as found:
        load_judge(small_recipe(tmp_path / "run", DOCUMENTS, evaluation=evaluation))
    assert "judge_endpoint" in str(found.value)
