"""The judge that a recipe names: a Python function, or a model behind an endpoint."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.evaluation.judge_file import check_judge
from megatron_sbp.evaluation.judge_function import load_function
from megatron_sbp.evaluation.opinions import Judge
from megatron_sbp.recipe import Recipe


def load_judge(recipe: Recipe, answers: Path | None = None) -> Judge | None:
    """The judge of a recipe; None where it names none. No request is sent.

    Args:
        recipe: `evaluation.judge` and `evaluation.judge_endpoint` are used.
        answers: file in which the answers of an endpoint are kept (`judge_answers.Answers`); None keeps none.

    Raises:
        InputError: see `check_judge` and `judge_function.load_function`.
    """
    if recipe.evaluation.judge_endpoint.base_url is None:
        return load_function(recipe)
    check_judge(recipe)
    from megatron_sbp.evaluation.judge_endpoint import load_endpoint  # imports openai

    return load_endpoint(recipe, answers)
