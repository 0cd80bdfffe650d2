"""A stage that counts as finished with files that a test made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.manifests import entries
from megatron_sbp.executor.state import StageState
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run


def finish(run: Run, made: Mapping[str, Sequence[Path]]) -> None:
    """Marks stages of the recipe's graph as finished, under its settings and with what they read.

    Args:
        run: The run.
        made: Outputs by stage. The stages that these read from are finished too, without outputs.
    """
    graph = all_stages(run.recipe)
    wanted = set(made)
    for stage in reversed(graph):
        if stage.name in wanted:
            wanted |= stage.reads(run).keys()
    for stage in graph:
        if stage.name not in wanted:
            continue
        state = StageState(run, stage, graph)
        if stage.name in made or not state.manifest_file.exists():
            try:
                inputs = state.inputs()
            except InputError:  # the corpus is made up
                inputs = {}
            mark_finished(run, stage.name, made.get(stage.name, ()), stage.settings(run), inputs)


def mark_finished(
    run: Run,
    stage: str,
    outputs: Iterable[Path],
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> None:
    """Writes a stage's manifest over `outputs`, as if it had run in no time."""
    manifest = {
        "stage": stage,
        "key": stage,
        "unit_key": stage,
        "settings": settings or {},
        "inputs": inputs or {},
        "outputs": entries(run, outputs),
        "seconds": 0.0,
        "unit_seconds": 0.0,
        "started": 0.0,
    }
    files.write_json(run.manifests / f"{stage}.json", manifest)


def rewritten(run: Run, stage: str, *paths: Path) -> None:
    """Lets a finished stage have written these of its outputs as they are now."""
    manifest = files.read_json(run.manifests / f"{stage}.json")
    manifest["outputs"].update(entries(run, paths))
    files.write_json(run.manifests / f"{stage}.json", manifest)
