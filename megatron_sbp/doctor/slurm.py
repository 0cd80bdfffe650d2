"""Slurm's clients on this node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.executor.slurm_queue import largest_array

SECONDS = 15


def check_slurm(subject: Subject) -> Iterator[Finding]:
    """`scontrol` is here and its controller answers; arrays can be as large as the recipe requests."""
    if shutil.which("scontrol") is None:
        yield _absent(subject)
        return
    try:
        answer = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        yield fail("slurm", f"the controller gave no answer in {SECONDS} s", "wait until `scontrol ping` answers")
        return
    if answer.returncode or " UP" not in answer.stdout:
        yield _silent((answer.stderr or answer.stdout).strip())
        return
    largest, recipe = largest_array(), subject.recipe
    if recipe is not None and recipe.slurm.array_size > largest:
        text = f"arrays have at most {largest:,} tasks here, and slurm.array_size is {recipe.slurm.array_size:,}"
        yield warn("slurm", text, f"`sbp submit` takes {largest:,}; only the site can raise MaxArraySize")
    else:
        yield ok("slurm", f"the controller is up; arrays of up to {largest:,} tasks")


def _absent(subject: Subject) -> Finding:
    text = "no `scontrol` on this node"
    if "SLURM_JOB_ID" in os.environ and "MASTER_ADDR" not in os.environ:
        remedy = "a training run asks it for the first node's address: set MASTER_ADDR in slurm.setup, or install it"
        return fail("slurm", text, remedy)
    if subject.recipe is not None and subject.recipe.slurm.partition is not None:
        return warn("slurm", text, "`sbp submit` where Slurm's clients are; here `sbp run`")
    return ok("slurm", f"{text}: `sbp run`, not `sbp submit`")


def _silent(words: str) -> Finding:
    text = f"`scontrol ping`: {words.splitlines()[-1].removeprefix('scontrol: ') if words else 'no answer'}"
    if "SLURM_JOB_ID" in os.environ:
        return fail("slurm", text, "its controller must be up, and slurm.conf found")
    return warn("slurm", text, "`sbp submit` needs its controller and slurm.conf; `sbp run` does without Slurm")
