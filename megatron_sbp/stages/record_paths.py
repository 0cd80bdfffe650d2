"""Paths of what the program keeps about a run: its marker, manifests, logs, and what a person tells it by files."""

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
        """Says that this is a run folder, and of which recipe."""
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
        """While it exists, nothing of the run starts, and whatever runs stops."""
        return self.root / records.STOP

    @property
    def save_file(self) -> Path:
        """Whenever it is touched, trainings save a checkpoint and continue."""
        return self.root / records.SAVE

    @property
    def manifests(self) -> Path:
        """Folder of the manifests: NAME.json of a stage, NAME/UNIT.json of its units."""
        return self.root / records.STAGES

    def stage_manifest(self, stage: str) -> Path:
        """What a stage has made and from what; there when it is complete."""
        return self.manifests / records.manifest(stage)

    def submitted(self, digest: str) -> Path:
        """The recipe as it was submitted, which jobs read."""
        return self.root / records.SUBMITTED / records.submitted(digest)

    @property
    def job_logs(self) -> Path:
        """Folder of the logs of Slurm's jobs, and of jobs.json, which lists them."""
        return self.root / records.LOGS / records.SLURM

    @property
    def job_faults(self) -> Path:
        """Folder of what went wrong in them: JOB.jsonl and JOB_TASK.jsonl."""
        return self.job_logs / records.FAULTS

    def log(self, stage: str, name: str) -> Path:
        """Log file of a process that works on a stage."""
        return self.root / records.LOGS / stage / f"{name}.log"

    def rejection_audit(self, stage: str) -> Path:
        """What was wrong with a corpus that was refused; no stage owns it."""
        return self.log(stage, "audit").with_suffix(".json")

    @property
    def aside(self) -> Path:
        """What was replaced or found damaged and is not the program's to delete."""
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
        """Folder of everything that is made to replace finished outputs."""
        return self.root / records.WORK

    def work_folder(self, stage: str, key: str) -> Path:
        """Where a stage makes outputs that will replace finished ones."""
        return self.work_root / f"{stage}-{key[:12]}"

    def work_folders(self, stage: str) -> list[Path]:
        """Those of a stage that are there, under whatever key."""
        return sorted(self.work_root.glob(f"{stage}-*"))
