"""`sbp doctor` as the command line calls it."""

from __future__ import annotations

import json
import os

from megatron_sbp.doctor.checks import examine
from megatron_sbp.doctor.findings import as_json, failed
from megatron_sbp.doctor.place import place_among_ranks
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.doctor.together import examine_together
from megatron_sbp.stages.run_folder import Run

TIMEOUT = 60.0
"""Seconds that a step waits for other ranks."""


def doctor(run: Run | None, as_program: bool = False, seconds: float = TIMEOUT) -> int:
    """Examines and prints; among several ranks, only rank 0 prints.

    Args:
        run: the run of the recipe; None examines the machine alone.
        as_program: print JSON.
        seconds: how long a step waits for other ranks.

    Returns:
        The exit status: 1 when something failed.

    Raises:
        InputError: the variables that say which rank this is are wrong.
    """
    subject, place = Subject(run), place_among_ranks(os.environ)
    if place is None:
        findings = []
        for finding in examine(subject):
            findings.append(finding)
            if not as_program:
                print(finding, flush=True)
    else:
        findings = examine_together(subject, place, seconds)
        if not findings:
            return 0
        if not as_program:
            print("\n".join(map(str, findings)), flush=True)
    if as_program:
        print(json.dumps(as_json(findings), indent=2))
    return 1 if failed(findings) else 0
