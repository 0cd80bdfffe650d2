"""The command line: overrides anywhere behind the recipe, a recipe read once, help that can be followed."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path

import pytest

from megatron_sbp import cli
from megatron_sbp.__main__ import main
from megatron_sbp.executor import local
from megatron_sbp.executor.retry import RETRY
from megatron_sbp.stages.graph import all_stages


@pytest.fixture
def parse():
    parser = cli._parser(all_stages())
    return lambda text: cli._parse(parser, text.split())


@pytest.mark.parametrize(
    "text",
    [
        "run R --until pairs seed=2 note=x",
        "run R seed=2 --until pairs note=x",
        "run R seed=2 note=x --until pairs",
        "run --until pairs R seed=2 note=x",
        "run R seed=2 --until=pairs note=x",
    ],
)
def test_overrides_around_an_option(parse, text):
    options = parse(text)
    assert (options.recipe, options.overrides, options.until) == ("R", ["seed=2", "note=x"], "pairs")


def test_other_verbs(parse):
    assert parse("plan R --json seed=2 --commands note=x").overrides == ["seed=2", "note=x"]
    options = parse("embed R --shard 1/2 seed=2")
    assert options.overrides == ["seed=2"] and options.shard == (1, 2)


def test_a_doctor_needs_no_recipe(parse, capsys):
    assert parse("doctor").recipe is None and parse("doctor R --json seed=2").overrides == ["seed=2"]
    with pytest.raises(SystemExit):
        parse("doctor --timeout never")
    assert "'never' is not a number of seconds" in capsys.readouterr().err


def test_a_gpu_that_nobody_knows(capsys):
    recipe = Path(__file__).parent / "end_to_end" / "recipe.yaml"
    assert cli.main(["plan", str(recipe), "--gpu", "A10O"]) == 2
    assert "did you mean A10?" in capsys.readouterr().err


def test_trace_asks_for_what_it_needs_alone(parse, capsys):
    assert parse("trace R syn-1-0").overrides == [] and parse("trace R syn-1-0 a=1 --json b=2").overrides == [
        "a=1",
        "b=2",
    ]
    with pytest.raises(SystemExit):
        parse("trace people")
    assert "the following arguments are required: document\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse("trace --help")
    told = capsys.readouterr().out
    assert cli.EPILOG in told and cli.TRACE in told and "recipe YAML file, or a run folder" in told


def test_unknown_options_are_named(parse, capsys):
    with pytest.raises(SystemExit) as left:
        parse("run R --untill pairs seed=2")
    assert left.value.code == 2 and "unrecognized arguments: --untill" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["name=x", "--check"], ["--check", "name=x"], []])
def test_a_recipe_is_read_once(tmp_path, monkeypatch, words):
    recipe, read, real = Path(__file__).parent / "end_to_end" / "recipe.yaml", [], cli.recipe_of
    monkeypatch.setattr(cli, "recipe_of", lambda *arguments: read.append(arguments) or real(*arguments))
    assert cli.main(["status", str(recipe), f"run_folder={tmp_path}/run", *words]) in (0, 4)
    assert len(read) == 1


@pytest.mark.parametrize("words", ["status", "status --check", "plan", "cancel", "verify", "pairs --explore"])
def test_to_ask_before_the_first_run_leaves_no_trace(tmp_path, capsys, words):
    """A folder with a file of ours and without a marker would be refused by the run that follows."""
    recipe, (verb, *options) = Path(__file__).parent / "end_to_end" / "recipe.yaml", words.split()
    cli.main([verb, str(recipe), f"run_folder={tmp_path}/run", *options])
    capsys.readouterr()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", ["--until report", "--unt report", "--discard report", "--repair=report", "--jobs 2"])
def test_the_value_of_an_option_is_no_recipe(tmp_path, monkeypatch, words):
    """With a folder of that name here, `sbp run --until report RECIPE` ran the three classic arms of any recipe."""
    recipe, graphs = Path(__file__).parent / "end_to_end" / "recipe.yaml", []
    monkeypatch.setattr(local, "run_all", lambda run, graph, *_, **__: graphs.append([stage.name for stage in graph]))
    monkeypatch.chdir(tmp_path)
    for name in ("report", "2"):
        (tmp_path / name).mkdir()
    assert cli.main(["run", *words.split(), str(recipe), "replicates=2", "run_folder=run"]) == 0
    assert [graph.count("evaluate.2") for graph in graphs] == [1]
    with pytest.raises(SystemExit):
        cli.main(["run", *words.split(), str(recipe), "--until", "evaluate.2", "run_folder=run"])


def test_the_stages_are_those_of_the_recipe_that_was_parsed(tmp_path, capsys):
    recipe = Path(__file__).parent / "end_to_end" / "recipe.yaml"
    assert cli.main(["status", "--", str(recipe), "replicates=2", f"run_folder={tmp_path}/run"]) == 0
    assert "evaluate.2 " in capsys.readouterr().out


def test_options_that_take_a_value():
    def options(parser):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb in action.choices.values():
                    yield from options(verb)
            elif action.nargs is None:
                yield from action.option_strings

    assert set(options(cli._parser(all_stages()))) == set(cli._WITH_VALUE)


def test_a_wrong_recipe_is_an_error_once(tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text("nam: x")
    assert cli.main(["plan", str(tmp_path / "recipe.yaml")]) == 2
    assert capsys.readouterr().err.count("did you mean") == 1


@pytest.mark.parametrize("verb", ["plan", "doctor", "embed", "train-sbp"])
def test_the_help_of_a_verb_says_how_to_call_it(capsys, verb):
    with pytest.raises(SystemExit) as left:
        cli.main([verb, "--help"])
    said = capsys.readouterr().out
    assert left.value.code == 0 and said.startswith(f"usage: sbp {verb} [-h]")
    assert cli.EPILOG in said


def test_status_is_printed_until_all_is_finished(tmp_path, monkeypatch, capsys):
    recipe = Path(__file__).parent / "end_to_end" / "recipe.yaml"
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.time, "sleep", sleep)
    monkeypatch.setattr(sys, "argv", ["sbp", "status", str(recipe), f"run_folder={tmp_path}/run", "--watch"])
    assert main() == 130
    assert slept == [cli.WATCH_SECONDS] * 3 and capsys.readouterr().out.count(f"{tmp_path}/run, 20") == 3


def test_a_recipe_without_tasks_has_no_harness(capsys):
    tiny = Path(__file__).parent / "end_to_end" / "recipe.yaml"
    assert cli.main(["harness", str(tiny)]) == 2
    assert "'evaluation.harness.tasks': names no task" in capsys.readouterr().err


def test_an_error_that_nobody_expected_is_retried_in_a_job_and_shows_where_it_was(tmp_path, monkeypatch, capsys):
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "shard")

    monkeypatch.setattr(cli, "_main", broken)
    assert cli.main(["status", "x"]) == 1
    monkeypatch.setenv("SBP_FAULTS", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBP_MAX_RETRIES", "1")
    assert cli.main(["status", "x"]) == RETRY
    said = capsys.readouterr().err
    assert "Traceback" in said and "in broken" in said and "job 7: will be retried" in said
    assert "Input/output error" in (tmp_path / "7.jsonl").read_text()
