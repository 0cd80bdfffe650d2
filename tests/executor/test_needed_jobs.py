"""Which stages get no job, and what is refused before any job is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import stage_toys as toys

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import slurm
from megatron_sbp.executor.needed_jobs import complete_stages
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.state import StageState
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run

REPOSITORY = Path(__file__).parents[2]


def test_stages_after_one_that_runs_again_have_a_job_of_unknown_keys(tmp_path):
    (tmp_path / "words.txt").write_text("a\nbb")
    graph = toys.graph()

    def found(*words: str, live: tuple[str, ...] = ()):
        run = toys.make_run(tmp_path, *words)
        states = {stage.name: StageState(run, stage, graph, reads_data=False) for stage in graph}
        complete, keys = complete_stages(states, live, dry_run=False)
        return complete, set(keys)

    assert found() == (set(), {"words"})
    for stage in graph[:2]:
        StageRunner(toys.make_run(tmp_path), stage, graph).execute()
    assert found() == ({"words", "lengths"}, {"total"})
    assert found(live=("total",)) == ({"words", "lengths"}, set())
    assert found("note=upper") == (set(), {"words"})


def test_a_corpus_that_is_not_there_is_named_before_anything_is_submitted(clients, tmp_path, capsys):
    """All jobs were queued, and the first ones found it out."""
    recipe = tmp_path / "recipe.yaml"
    text = (REPOSITORY / "examples" / "people" / "recipe.yaml").read_text()
    recipe.write_text(text)
    words = [f"run_folder={tmp_path / 'run'}", "documents.inputs=[nowhere/*.jsonl]"]
    run = Run.of(load_recipe(recipe, words))
    with pytest.raises(InputError, match=r"documents\.inputs.*nowhere"):
        slurm.submit(run, recipe, words, all_stages(run.recipe))
    slurm.submit(run, recipe, words, all_stages(run.recipe), dry_run=True)  # on any machine
    assert "documents=$(sbatch" in capsys.readouterr().out
