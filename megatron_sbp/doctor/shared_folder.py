"""Whether all nodes see the same folder, and locks in it exclude one another."""

from __future__ import annotations

import fcntl
from pathlib import Path

from megatron_sbp.doctor.findings import Finding, fail, ok
from megatron_sbp.doctor.meeting import Attendance, Meeting
from megatron_sbp.doctor.storage import LUSTRE, lockable, temporary_file

CHECK = "shared folder"


def compare_folders(meeting: Meeting, attendance: Attendance, folder: Path, seconds: float) -> Finding | None:
    """Called by the first rank of every node; returns the finding on rank 0, None on the others.

    Rank 0 holds a lock on a temporary file; every other node must see that file and not get the lock.
    """
    others = attendance.leaders()[1:]
    if meeting.place.rank != 0:
        file = meeting.hear("locked file", 2 * seconds)
        if file:
            meeting.tell(f"saw/{meeting.place.rank}", _look(Path(file)))
        return None
    try:
        with temporary_file(folder) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            meeting.tell("locked file", held.name)
            answers = meeting.hear_all("saw", others, seconds)
    except OSError as error:
        meeting.tell("locked file", "")
        return fail(CHECK, f"no lock in {folder}: {error.strerror}", LUSTRE)
    wrong = {attendance.nodes[rank]: answer for rank, answer in answers.items() if answer != "locked"}
    if wrong:
        text = "; ".join(f"{node} {answer or 'gave no answer'}" for node, answer in list(wrong.items())[:8])
        return fail(CHECK, f"{folder}: {text}", f"run_folder must be on a file system that all nodes share; {LUSTRE}")
    return ok(CHECK, f"{len(others) + 1} nodes see {folder} and exclude each other by flock")


def _look(file: Path) -> str:
    try:
        with open(file, "rb+") as seen:  # NFS locks only files that are open for writing
            return "gets a lock that another node holds" if lockable(seen) else "locked"
    except FileNotFoundError:
        return "does not see a file there"
    except OSError as error:
        return f"cannot open a file there ({error.strerror})"
