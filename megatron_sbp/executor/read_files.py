"""Checks that a stage reads its inputs as earlier stages wrote them, and names a file that was replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.locks import locked
from megatron_sbp.executor.manifests import stage_manifest
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run


def check_unchanged(run: Run, stages: Iterable[str], inputs: Iterable[str]) -> None:
    """Refuses to read files that differ from what finished stages wrote: of another run, truncated, edited.

    Contents are read only where size or modification time differ, as in a copied run folder; times of files with the
    same contents are recorded, so that the next process need not read them. Missing files are left to the reader.

    Args:
        run: the run.
        stages: names of the finished stages.
        inputs: paths in the run folder that are read; names of files outside are passed over.
    """
    wanted = set(inputs)
    for stage in stages:
        manifest, times = stage_manifest(run.stage_manifest(stage), stage), dict[Path, int]()
        written = manifest["outputs"] if manifest else {}
        for path in sorted(wanted & written.keys()):
            found = files.mismatch(run.at(path), written[path], times=times)
            if found is not None and not found[1]:
                raise InputError(f"{found[0]} by {stage}; `sbp run` makes it again", file=run.at(path))
        note_times(run, stage, times)


def note_times(run: Run, stage: str, times: dict[Path, int]) -> None:
    """Writes modification times of outputs of a finished stage into its manifest, and empties `times`."""
    if not times:
        return
    file = run.stage_manifest(stage)
    with (
        contextlib.suppress(OSError),
        locked(run.manifests / stage / records.PREPARE_LOCK, f"{stage} prepare"),
    ):
        manifest = stage_manifest(file, stage)
        if manifest is not None:
            for path, entry in manifest["outputs"].items():
                entry["mtime_ns"] = times.get(run.at(path), entry["mtime_ns"])
            files.write_json(file, manifest)
    times.clear()
