"""Verbs that do work: what stops them before they write anything, and when results are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.base.stop_file import STATUS as STOPPED
from megatron_sbp.cli import main
from megatron_sbp.executor import local
from megatron_sbp.executor.claim import claim, recipe_of
from megatron_sbp.recipe import dump_recipe, load_recipe
from megatron_sbp.stages.run_folder import Run

RECIPE = Path(__file__).parents[2] / "tests" / "end_to_end" / "recipe.yaml"


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.of(load_recipe(RECIPE, [f"run_folder={tmp_path}/run"]))


@pytest.mark.parametrize("verb", ["run", "submit", "documents", "submit --dry-run"])
def test_nothing_starts_beside_a_stop_file(run, capsys, verb):
    claim(run)
    run.stop_file.touch()
    before = sorted(run.root.rglob("*"))
    assert main([*verb.split(), str(RECIPE), f"run_folder={run.root}"]) == STOPPED
    assert str(run.stop_file) in capsys.readouterr().err and sorted(run.root.rglob("*")) == before


def test_a_stage_that_is_finished_says_so(run, capsys):
    words, told = ["documents", str(RECIPE), f"run_folder={run.root}"], "documents: already complete since 20"
    assert main(words) == 0 and told not in capsys.readouterr().err
    assert main(words) == 0 and told in capsys.readouterr().err
    assert main([*words, "--part-of-run"]) == 0 and capsys.readouterr().err == ""  # `sbp run` says it


@pytest.mark.parametrize(
    ("until", "printed"), [([], True), (["--until", "report"], True), (["--until", "embed"], False)]
)
def test_results_are_printed_when_all_has_run(run, capsys, monkeypatch, until, printed):
    """Those of an earlier run are in the folder when a part of it runs again."""
    calls = []
    monkeypatch.setattr(local, "run_all", lambda *given, **options: calls.append((given, options)))
    monkeypatch.setattr("megatron_sbp.report.text.format_results", lambda results: f"results {results}")
    claim(run)
    run.results_file.write_text(json.dumps({"a": 1}))
    assert main(["run", str(RECIPE), f"run_folder={run.root}", "--jobs", "2", "--discard", "pairs", *until]) == 0
    ((given, options),) = calls
    [copy] = given[2]
    assert not Path(copy).exists()  # until a stage begins
    options["begins"]()
    assert Path(copy).parent == run.root / "submitted" and dump_recipe(recipe_of(copy, [])) == dump_recipe(run.recipe)
    assert (options["jobs"], options["discard"], options["repair"]) == (2, ["pairs"], [])
    assert ("results {'a': 1}" in capsys.readouterr().out) == printed


def test_a_rehearsal_that_is_only_shown_writes_nothing(run, capsys):
    assert main(["rehearse", str(RECIPE), f"run_folder={run.root}", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"# {run.root.parent}/rehearsal/{run.root.name}" in told and not list(run.root.parent.iterdir())


def test_nothing_to_cancel(run, capsys):
    assert main(["cancel", str(RECIPE), f"run_folder={run.root}"]) == 0
    assert capsys.readouterr().out == "0 jobs canceled; `sbp submit` continues the run\n"


def test_without_a_corpus_nothing_is_submitted_or_written(run, tmp_path, capsys):
    words = [str(RECIPE), f"run_folder={run.root}", f"documents.inputs=[{tmp_path}/none/*.jsonl]"]
    for verb in ("submit", "run"):
        assert main([verb, *words]) == 2
        refused = capsys.readouterr().err
        assert "none/*.jsonl" in refused and not run.root.exists()
    assert main(["submit", *words, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "report=$(sbatch" in told.out and refused.removeprefix("sbp: error: ") in told.err
    assert not run.root.exists()
    assert main(["plan", *words]) == 0
    assert "documents.inputs: the run will be refused: " in capsys.readouterr().out
