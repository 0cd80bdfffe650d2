"""Paths of the program's records of a run: its marker, manifests, logs, and the files by which a user controls it."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path

from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.placed import Placed


class RecordPaths(Placed):
    """Of the records of a run."""

    @property
    def marker_file(self) -> Path:
        """Marks a run folder, and names its recipe."""
        return self.root / records.MARKER

    @property
    def resolved_file(self) -> Path:
        """The recipe as it ran, with every default written out."""
        return self.root / records.RESOLVED

    @property
    def plan_file(self) -> Path:
        return self.root / records.PLAN

    @property
    def stop_file(self) -> Path:
        """While it exists, no stage of the run starts, and running ones stop."""
        return self.root / records.STOP

    @property
    def save_file(self) -> Path:
        """Whenever it is touched, training runs save a checkpoint and continue."""
        return self.root / records.SAVE

    @property
    def manifests(self) -> Path:
        """Folder of the manifests: NAME.json of a stage, NAME/UNIT.json of its units."""
        return self.root / records.STAGES

    def stage_manifest(self, stage: str) -> Path:
        """A stage's outputs and inputs; exists once the stage is complete."""
        return self.manifests / records.manifest(stage)

    def submitted(self, digest: str) -> Path:
        """The recipe as it was submitted or run, which jobs and stages read."""
        return self.root / records.SUBMITTED / records.submitted(digest)

    @property
    def job_logs(self) -> Path:
        """Folder of the logs of Slurm's jobs, and of jobs.json, which lists them."""
        return self.root / records.LOGS / records.SLURM

    @property
    def job_faults(self) -> Path:
        """Folder of their faults: JOB.jsonl and JOB_TASK.jsonl."""
        return self.job_logs / records.FAULTS

    def log(self, stage: str, name: str) -> Path:
        """Log file of a process that works on a stage."""
        return self.root / records.LOGS / stage / f"{name}.log"

    def rejection_audit(self, stage: str) -> Path:
        """The problems of a corpus that was refused; no stage owns it."""
        return self.log(stage, "audit").with_suffix(".json")

    @property
    def aside(self) -> Path:
        """Replaced or damaged files that the program must not delete."""
        return self.root / records.ASIDE

    def new_aside(self, label: str) -> Path:
        """Makes a new folder below aside/ for files that are moved out of the way."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in itertools.count():
            folder = self.aside / (f"{label}-{stamp}" + (f"-{number}" if number else ""))
            folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
        raise AssertionError  # count() does not end

    @property
    def work_root(self) -> Path:
        """Folder of outputs that are being made to replace finished ones."""
        return self.root / records.WORK

    def work_folder(self, stage: str, key: str) -> Path:
        """Where a stage makes outputs that will replace finished ones."""
        return self.work_root / f"{stage}-{key[:12]}"

    def work_folders(self, stage: str) -> list[Path]:
        """The existing ones of a stage, whatever their fingerprint."""
        return sorted(self.work_root.glob(f"{stage}-*"))
