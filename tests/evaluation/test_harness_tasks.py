"""The names that a folder of task files defines, and what is missing before hours of work."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from support.harness_tasks import write_tasks

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation.harness_tasks import check_harness, defined_tasks, harness_python, task_files, task_folder
from megatron_sbp.recipe import Recipe, load_recipe

PEOPLE = Path(__file__).parents[2] / "examples" / "people" / "recipe.yaml"


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_tasks(tmp_path / "tasks")


def recipe(folder: Path, tasks: str = "[colors]", **more: str) -> Recipe:
    # Without lm-eval the checks of folder and tasks would not be reached.
    values = {"tasks": tasks, "task_folder": str(folder), "python": sys.executable, **more}
    return load_recipe(PEOPLE, [f"evaluation.harness.{key}={value}" for key, value in values.items()])


def test_names_are_those_of_tasks_groups_and_tags(folder):
    (folder / "more.yaml").write_text(
        "task: fun\ntag: [easy, small]\ninclude: colors.yaml\nprocess_docs: !function f.g\n"
    )
    (folder / "list.yaml").write_text("- 1\n")
    found = defined_tasks(folder)
    assert set(found) == {"both", "colors", "tones", "prose", "written", "fun", "easy", "small"}
    assert found["fun"] == folder / "more.yaml"


def test_files_that_count(folder):
    for name in (".git/config", "__pycache__/utils.pyc", "utils.py", "data/.swap"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    names = [file.relative_to(folder).as_posix() for file in task_files(folder)]
    assert "utils.py" in names and "data/prose.jsonl" in names and names == sorted(names)
    assert not {".git/config", "__pycache__/utils.pyc", "data/.swap"} & set(names)


def test_a_recipe_without_tasks_needs_nothing(tmp_path):
    plain = recipe(tmp_path / "gone", tasks="[]")
    check_harness(plain)
    assert task_folder(plain) is None


def test_paths_are_relative_to_the_recipe(folder):
    found = recipe(folder, task_folder="tasks", python="venv/bin/python")
    assert task_folder(found) == PEOPLE.parent / "tasks"
    assert harness_python(found) == PEOPLE.parent / "venv" / "bin" / "python"
    with pytest.raises(InputError, match=r"no such file: .*venv/bin/python"):
        check_harness(found)


def test_an_unknown_task_is_answered_with_near_ones(folder):
    check_harness(recipe(folder, "[colors, both, prose]"))
    with pytest.raises(InputError, match=r"defines the task 'colour'; it defines colors.* and \d more"):
        check_harness(recipe(folder, "[prose, colour]"))
    with pytest.raises(InputError, match=r"'mmlu'; it defines both, colors, prose, tones, written$"):
        check_harness(recipe(folder, "[mmlu]"))


def test_folders_that_are_not_there_or_empty(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder") as found:
        check_harness(recipe(tmp_path / "gone"))
    assert found.value.key == "evaluation.harness.task_folder"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"it defines no task$"):
        check_harness(recipe(tmp_path / "empty"))


def test_a_missing_data_file_is_named(folder):
    (folder / "data" / "colors.jsonl").unlink()
    with pytest.raises(InputError, match=r"no such file: data/colors.jsonl") as found:
        check_harness(recipe(folder))
    with pytest.raises(InputError, match=r"no such file: data/colors.jsonl"):
        check_harness(recipe(folder, "[both]"))
    check_harness(recipe(folder, "[tones]"))
    assert found.value.file == folder / "colors.yaml"
    (folder / "colors.yaml").write_text("task: [colors\n")
    with pytest.raises(InputError, match=r"colors.yaml: is not YAML"):
        check_harness(recipe(folder))


@pytest.mark.parametrize(("backend", "name"), [("hf", "lm-eval"), ("vllm", "vllm")])
def test_a_missing_package_is_named(folder, monkeypatch, backend, name):
    there = importlib.util.find_spec
    missing = {"hf": "lm_eval", "vllm": "vllm"}[backend]
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == missing else there("json"))
    with pytest.raises(InputError, match=f"pip install {name},"):
        check_harness(recipe(folder, python="null", backend=backend))


def test_lm_eval_is_not_imported_for_it(folder):
    program = (
        "import sys, pathlib\n"
        "from megatron_sbp.evaluation.harness_tasks import defined_tasks\n"
        f"assert defined_tasks(pathlib.Path({str(folder)!r}))\n"
        "print([name for name in ('lm_eval', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
