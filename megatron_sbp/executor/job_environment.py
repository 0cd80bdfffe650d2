"""What `sbp submit` and scripts/job.sh tell a job through its environment, read here and nowhere else.

| Variable | Set by | Read by | Why not an argument |
|---|---|---|---|
| SBP_FAULTS, SBP_MAX_RETRIES | `sbp submit` | job.sh and this | job.sh counts the tries of a process that was killed |
| SBP_COMMAND | `sbp submit`, or the user | job.sh and this | job.sh runs it; jobs that submit jobs pass it on |
| OMP_NUM_THREADS | the user, `sbp run`, or job.sh | OpenMP, `tokenization.pieces` | as in any library |

The other SBP_ variables of a job are read by the scripts alone. Our functions pass them on as arguments, in this class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class JobEnvironment:
    """The environment of a process that may be inside a job."""

    variables: Mapping[str, str]
    """All of it; for those that Slurm sets."""

    faults: Path | None
    """Folder of what is noted about the run's jobs; None outside of jobs of `sbp submit`."""

    max_retries: int
    """How often a job that failed with a fault is retried."""

    command: str | None
    """What runs `sbp` in a job, in words quoted for a shell; None where the user did not say."""

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> JobEnvironment:
        """Reads it. An invalid number of retries counts as 0."""
        folder, most = variables.get("SBP_FAULTS"), variables.get("SBP_MAX_RETRIES", "")
        return cls(
            variables,
            faults=Path(folder) if folder else None,
            max_retries=int(most) if most.isdecimal() else 0,
            command=variables.get("SBP_COMMAND") or None,
        )
