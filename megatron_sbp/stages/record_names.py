"""Names of the files that the program keeps about a run; `record_paths.py` says where they are."""

from __future__ import annotations

import re

MARKER, RESOLVED, PLAN, STOP, SAVE = "sbp-run.json", "resolved.yaml", "plan.json", "stop", "save"
RECIPE_OF_VERSION_0_1 = "recipe.yaml"
"""The former name of resolved.yaml."""
STAGES, LOGS, ASIDE, WORK, UNITS = "stages", "logs", "aside", ".work", "units"
"""Folders: of manifests, of logs, of what was moved out of the way, of replacements, and of a replacement's units."""
SLURM, FAULTS = "slurm", "faults"
"""Below the logs: of jobs; below that: of their faults."""
SUBMITTED = "submitted"
"""Folder of the recipes as they were submitted."""

STARTED = "started.json"
"""Among the manifests of units: the fingerprint of the work in progress."""
UNIT_MANIFESTS = "[!.]*.json"
"""Pattern of the manifests of a stage's units, and of the note that it was started."""
STARTED_STAGES = f"*/{STARTED}"
"""Pattern of those notes, below the folder of manifests."""
LOCK = ".lock"
UNIT_LOCKS = f".*{LOCK}"
PREPARE_LOCK = f".prepare{LOCK}"
EXTERNAL, EXTERNAL_LOCK, EXTERNAL_FILES_LOCK = "external.json", ".external.lock", ".external-files.lock"
"""Digests of files outside the run folder, and what processes wait for that write them or make them."""
JOBS, SUBMIT_LOCK = "jobs.json", ".submit.lock"
FAULT_ROWS, LIMIT_ROWS = ".jsonl", ".limits"
"""Suffixes of the rows that the starts of a job leave: what failed, and what its time limits interrupted."""
FAULT_FILES = f"*{FAULT_ROWS}"


def manifest(name: str) -> str:
    """Manifest of a stage or a unit."""
    return f"{name}.json"


def unit_lock(unit: str) -> str:
    """The lock of processes that work on the same unit."""
    return f".{unit}{LOCK}"


def unit_of_lock(name: str) -> str:
    """The unit of such a file, and of those that UNIT_LOCKS matches."""
    return name[1 : -len(LOCK)]


def submitted(digest: str) -> str:
    """A recipe as it was submitted."""
    return f"{digest}.yaml"


def faults_of(job: str) -> tuple[str, str]:
    """Patterns of the rows of a job's faults: of a single one, and of the tasks of an array."""
    return f"{job}{FAULT_ROWS}", f"{job}_*{FAULT_ROWS}"


def logs_of(job: str) -> tuple[str, str]:
    """Patterns of a job's logs: of a single one, and of the tasks of an array."""
    return f"*-{job}.out", f"*-{job}_*.out"


def below_folder(path: str) -> tuple[str, str]:
    """The folder of a name below the run folder, empty for the run folder itself, and the rest."""
    folder, _, name = path.rpartition("/")
    return folder, name


def is_outside(path: str) -> bool:
    """Whether a name leads out of the run folder."""
    return path.startswith("/") or ".." in path.split("/")


def of_one_unit(before: str, after: str) -> re.Pattern[str]:
    """Regular expression of a pattern with a unit's name between two parts; the group `unit` is that name."""
    return re.compile(f"{re.escape(before)}(?P<unit>[^/]+){re.escape(after).replace(r'\*', '.*')}")
