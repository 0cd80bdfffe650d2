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


class WrittenFiles:
    """What finished stages wrote, by their manifests, which are read once.

    Args:
        run: the run.
        stages: names of stages; those that are not finished are passed over.
    """

    def __init__(self, run: Run, stages: Iterable[str]):
        found = {stage: stage_manifest(run.stage_manifest(stage), stage) for stage in stages}
        self._run, self._outputs = run, {stage: it["outputs"] for stage, it in found.items() if it is not None}

    def check(self, inputs: Iterable[str]) -> None:
        """Refuses to read files that differ from what finished stages wrote: of another run, truncated, edited.

        Contents are read only where size or modification time differ, as in a copied run folder; times of files with
        the same contents are recorded, so that the next process need not read them. Missing files are left to the
        reader.

        Args:
            inputs: paths in the run folder that are read; names of files outside are passed over.
        """
        wanted = set(inputs)
        for stage, written in self._outputs.items():
            times: dict[Path, int] = {}
            for path in sorted(wanted & written.keys()):
                found = files.mismatch(self._run.at(path), written[path], times=times)
                if found is not None and not found[1]:
                    raise InputError(
                        f"{found[0]}; {stage} wrote it, and `sbp run` makes it again", file=self._run.at(path)
                    )
            for place, time in times.items():
                written[self._run.relative(place)]["mtime_ns"] = time
            note_times(self._run, stage, times)


def check_unchanged(run: Run, stages: Iterable[str], inputs: Iterable[str]) -> None:
    """`WrittenFiles.check`, once."""
    WrittenFiles(run, stages).check(inputs)


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
