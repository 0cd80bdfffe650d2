"""Runs of the toy stages: what was done, and what is in the run folder."""

from __future__ import annotations

from support import stage_toys as toys

from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name

WORDS = ["alpha", "be", "gamma", "delta", "epsilon", "zeta", "eta"]


def runner(run: Run, name: str) -> StageRunner:
    graph = toys.graph()
    return StageRunner(run, by_name(graph, name), graph)


def execute(run: Run) -> list[str]:
    """Runs all stages; returns what was really done."""
    (run.root / "calls").unlink(missing_ok=True)
    for stage in toys.graph():
        assert runner(run, stage.name).execute()
    return calls(run)


def calls(run: Run) -> list[str]:
    file = run.root / "calls"
    return file.read_text().splitlines() if file.exists() else []


def contents(run: Run) -> dict[str, bytes]:
    """Data files of the run folder, not manifests, which hold times."""
    skip = ("stages", "calls", "aside")
    found = (path for path in run.root.rglob("*") if path.is_file() and run.relative(path).split("/")[0] not in skip)
    return {run.relative(path): path.read_bytes() for path in found}


def aside(run: Run) -> dict[str, str]:
    """Text of the files that were moved out of the way, by name."""
    return {path.name: path.read_text() for path in run.aside.rglob("*") if path.is_file()}
