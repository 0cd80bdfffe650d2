"""A stage of a finished run, as if it had never run."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.whole_program import digests

from megatron_sbp.base import files
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


def undo(run: Run, stage: Stage) -> None:
    """Removes what a stage wrote, and its manifests."""
    shutil.rmtree(run.manifests / stage.name)
    (run.manifests / f"{stage.name}.json").unlink(missing_ok=True)
    owned: list[Path] = [path for pattern in stage.owns(run) for path in run.root.glob(pattern)]
    for path in owned:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def outputs(run: Run, stage: Stage) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of what the stage has in the run folder, and those of its manifest."""
    named = files.read_json(run.stage_manifest(stage.name))["outputs"]
    found = digests(run.root, tuple(f"{pattern}{more}" for pattern in stage.owns(run) for more in ("", "/**/*")))
    return found, {path: entry["sha256"] for path, entry in named.items()}
