"""A stage that counts as finished with files that a test made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.executor.manifests import entries
from megatron_sbp.stages.run_folder import Run


def mark_finished(run: Run, stage: str, outputs: Iterable[Path]) -> None:
    """Writes a stage's manifest over `outputs`, as if it had run in no time."""
    manifest = {
        "stage": stage,
        "key": stage,
        "unit_key": stage,
        "settings": {},
        "inputs": {},
        "outputs": entries(run, outputs),
        "seconds": 0.0,
        "unit_seconds": 0.0,
        "started": 0.0,
    }
    files.write_json(run.manifests / f"{stage}.json", manifest)
