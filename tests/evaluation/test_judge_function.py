"""A judge that is a function of the user's: what it may say, and what is told when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.judge import load_judge
from megatron_sbp.evaluation.judge_file import check_judge, judge_place
from megatron_sbp.evaluation.opinions import Case, Judge
from megatron_sbp.recipe import Documents, Evaluation, Recipe

CASES = [Case("seed", f"text {number}", {"id": f"syn-{number}"}) for number in range(100)]


def recipe_with(folder: Path, judge: str | None) -> Recipe:
    documents = Documents(inputs=["x"], train=1, valid=1, test=1)
    recipe = small_recipe(folder / "run", documents, evaluation=Evaluation(judge=judge))
    recipe.source = folder / "recipe.yaml"
    return recipe


def judging(folder: Path, body: str) -> Judge:
    (folder / "beside.py").write_text("LIMIT = 40\n")
    (folder / "judge.py").write_text(f"from dataclasses import dataclass\nfrom beside import LIMIT\n{body}\n")
    judge = load_judge(recipe_with(folder, "judge.py:say"))
    assert judge is not None
    return judge


def test_opinions_become_figures_with_intervals(tmp_path):
    judge = judging(
        tmp_path,
        "@dataclass\nclass Number:\n    of: int\n"
        "def say(batch):\n"
        "    numbers = [Number(int(case['text'].split()[1])) for case in batch]\n"
        "    return [{'factual': n.of >= LIMIT, 'relevant': None if n.of % 2 else (1, 4)} for n in numbers]",
    )
    found = judge.figures(CASES, 1, "test")
    assert found["non_factual"]["value"] == 0.4 and found["non_factual"]["judged"] == 100
    assert found["non_factual"]["low"] == pytest.approx(0.3033, abs=1e-3)  # Clopper and Pearson
    assert found["pair_irrelevance"] == {"value": 0.75, "low": 0.75, "high": 0.75, "judged": 50}
    assert judge.about()["function"] == "say" and judge.about()["file"] == "judge.py"
    assert judge.figures([], 1, "test")["non_factual"] == {"value": None, "low": None, "high": None, "judged": 0}


def test_a_row_is_a_copy_and_the_seed_may_be_missing(tmp_path):
    judge = judging(
        tmp_path,
        "def say(batch):\n    return [{'factual': c['seed'] is None and c['row'].pop('id') == 'a'} for c in batch]",
    )
    row = {"id": "a"}
    assert judge.figures([Case(None, "t", row)], 1, "test")["non_factual"]["value"] == 0.0
    assert row == {"id": "a"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [{}] * (len(batch) - 1)", r"returned 63 entries for 64 texts \(documents syn-0 to syn-63\)"),
        ("return None", "returned NoneType for 64 texts"),
        (
            "return [1 / (case['row']['id'] != 'syn-70') and {} for case in batch]",
            r"raised ZeroDivisionError.*\(document syn-70\)",
        ),
        ("return [{'true': True}] * len(batch)", r"must return 'factual' and 'relevant', not .*\(document syn-0\)"),
        ("return [{'factual': 'yes'}] * len(batch)", r"said factual = 'yes'; it must be True, False, None"),
        ("return [{'factual': 1.5}] * len(batch)", r"said factual = 1.5"),
        ("return [{'relevant': (3, 2)}] * len(batch)", r"said relevant = \(3, 2\)"),
        ("return [{'relevant': float('nan')}] * len(batch)", r"said relevant = nan"),
    ],
)  # fmt: skip
def test_a_judge_that_fails_is_named_with_file_function_and_document(tmp_path, body, message):
    judge = judging(tmp_path, f"def say(batch):\n    {body}")
    with pytest.raises(InputError, match=rf"judge.py: 'evaluation.judge': the judge say\(\) .*{message}"):
        judge.figures(CASES, 1, "test")


@pytest.mark.parametrize(
    ("told", "text", "message"),
    [
        ("judge.py", "", "must be FILE.py:FUNCTION"),
        ("judge:say", "", "must be FILE.py:FUNCTION"),
        ("judge.py:say it", "", "must be FILE.py:FUNCTION"),
        ("nowhere.py:say", "", "no such file"),
        ("judge.py:say", "def other(): ...", "judge.py: 'evaluation.judge': defines no 'say'"),
        ("judge.py:say", "def say(:", "is not Python"),
    ],
)
def test_what_is_not_there_is_an_error_before_anything_runs(tmp_path, told, text, message):
    (tmp_path / "judge.py").write_text(text)
    with pytest.raises(InputError, match=message):
        check_judge(recipe_with(tmp_path, told))


def test_a_file_that_fails_or_gives_no_function_is_an_error(tmp_path):
    (tmp_path / "judge.py").write_text("say = 3\n")
    with pytest.raises(InputError, match="'say' is not a function"):
        load_judge(recipe_with(tmp_path, "judge.py:say"))
    (tmp_path / "judge.py").write_text("import nothing_of_this_name\ndef say(): ...\n")
    with pytest.raises(InputError, match="cannot be loaded: ModuleNotFoundError"):
        load_judge(recipe_with(tmp_path, "judge.py:say"))
    assert load_judge(recipe_with(tmp_path, None)) is None and judge_place(recipe_with(tmp_path, None)) is None
