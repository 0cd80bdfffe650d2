"""From words to an exit status: a recipe read once, the stages of that recipe, errors that say where they were."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from megatron_sbp.cli import command, main
from megatron_sbp.executor import local
from megatron_sbp.executor.retry import RETRY

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words", [["name=x", "--check"], ["--check", "name=x"], []])
def test_a_recipe_is_read_once(tmp_path, monkeypatch, words):
    recipe, read, real = ROOT / "tests" / "end_to_end" / "recipe.yaml", [], command.recipe_of
    monkeypatch.setattr(command, "recipe_of", lambda *arguments: read.append(arguments) or real(*arguments))
    assert main(["status", str(recipe), f"run_folder={tmp_path}/run", *words]) in (0, 4)
    assert len(read) == 1


@pytest.mark.parametrize("words", ["status", "status --check", "plan", "cancel", "verify", "pairs --explore"])
def test_to_ask_before_the_first_run_leaves_no_trace(tmp_path, capsys, words):
    """A folder with a file of ours and without a marker would be refused by the run that follows."""
    recipe, (verb, *options) = ROOT / "tests" / "end_to_end" / "recipe.yaml", words.split()
    main([verb, str(recipe), f"run_folder={tmp_path}/run", *options])
    capsys.readouterr()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", ["--until report", "--unt report", "--discard report", "--repair=report", "--jobs 2"])
def test_the_value_of_an_option_is_no_recipe(tmp_path, monkeypatch, words):
    """With a folder of that name here, `sbp run --until report RECIPE` ran the three classic arms of any recipe."""
    recipe, graphs = ROOT / "tests" / "end_to_end" / "recipe.yaml", []
    monkeypatch.setattr(local, "run_all", lambda run, graph, *_, **__: graphs.append([stage.name for stage in graph]))
    monkeypatch.chdir(tmp_path)
    for name in ("report", "2"):
        (tmp_path / name).mkdir()
    assert main(["run", *words.split(), str(recipe), "replicates=2", "run_folder=run"]) == 0
    assert [graph.count("evaluate.2") for graph in graphs] == [1]
    with pytest.raises(SystemExit):
        main(["run", *words.split(), str(recipe), "--until", "evaluate.2", "run_folder=run"])


def test_the_stages_are_those_of_the_recipe_that_was_parsed(tmp_path, capsys):
    recipe = ROOT / "tests" / "end_to_end" / "recipe.yaml"
    assert main(["status", "--", str(recipe), "replicates=2", f"run_folder={tmp_path}/run"]) == 0
    assert "evaluate.2 " in capsys.readouterr().out


def test_a_wrong_recipe_is_an_error_once(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("nam: x")
    assert main(["plan", str(tmp_path / "recipe.yaml")]) == 2
    assert capsys.readouterr().err.count("did you mean") == 1


def test_a_recipe_without_tasks_has_no_harness(capsys):
    tiny = ROOT / "tests" / "end_to_end" / "recipe.yaml"
    assert main(["harness", str(tiny)]) == 2
    assert "'evaluation.harness.tasks': names no task" in capsys.readouterr().err
    words = ["evaluation.harness.tasks=[sciq]", "evaluation.harness.task_folder=x", "evaluation.harness.shots={sciq:1}"]
    assert main(["harness", str(tiny), *words]) == 2  # in YAML, a colon without a space is part of the name
    told = capsys.readouterr().err
    assert "evaluation.harness.shots" in told and "names no task" not in told


def test_jobs_that_would_be_refused_can_be_shown_and_are_not_submitted(tmp_path, capsys, monkeypatch):
    """The paper's recipes name benchmark tasks that have to be fetched: the command is in the message."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # the embedder need not be in the cache; nothing is fetched
    paper, gone = ROOT / "examples" / "sbp_100m_2b" / "recipe.yaml", tmp_path / "gone"
    words = ["submit", str(paper), f"run_folder={tmp_path}/run", f"evaluation.harness.task_folder={gone}"]
    assert main(words) == 2
    printed = capsys.readouterr()
    assert f"no such folder: {gone}" in printed.err and f"`python tools/fetch_tasks.py --to {gone}`" in printed.err
    assert printed.out == "" and not list(tmp_path.iterdir())
    assert main([*words, "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "warning: without --dry-run, this would be refused" in printed.err and f"--to {gone}`" in printed.err
    assert "\nharness=$(sbatch" in printed.out


def test_an_error_that_nobody_expected_is_retried_in_a_job_and_shows_where_it_was(tmp_path, monkeypatch, capsys):
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "shard")

    monkeypatch.setattr(command, "_main", broken)
    assert main(["status", "x"]) == 1
    monkeypatch.setenv("SBP_FAULTS", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBP_MAX_RETRIES", "1")
    assert main(["status", "x"]) == RETRY
    said = capsys.readouterr().err
    assert "Traceback" in said and "in broken" in said and "job 7: will be retried" in said
    assert "Input/output error" in (tmp_path / "7.jsonl").read_text()


@pytest.mark.parametrize(("words", "own"), [(["submit", "--help"], None), (["plan", "--help"], "false")])
def test_jobs_do_not_inherit_that_this_process_tokenizes_alone(words, own, monkeypatch):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    with pytest.raises(SystemExit):
        main(words)
    assert os.environ.get("TOKENIZERS_PARALLELISM") == own
