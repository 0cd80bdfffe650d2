"""Every shell program, and the containers' recipes: what shellcheck and hadolint say about them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTAINERS = ROOT / "slurm" / "containers"
JOBS = ROOT / "megatron_sbp" / "executor" / "scripts"


def program(name: str) -> str:
    """A linter of the environment that runs the tests."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None and platform.machine() != "x86_64":
        pytest.skip(f"no wheel of {name} for {platform.machine()}")
    assert found, f"{name} is not installed: make setup"
    return found


def shellcheck(*words: str | Path, text: str | None = None) -> str:
    """What it has to say; empty when nothing is wrong."""
    done = subprocess.run(
        [program("shellcheck"), "--external-sources", "--format=gcc", *map(str, words)],
        input=text, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_shell_programs():
    files = [*JOBS.iterdir(), *(ROOT / "scripts").glob("*.sh"), *(ROOT / "slurm").glob("*.sh"), ROOT / ".ci" / "run"]
    assert len(files) > 10 and not shellcheck("--shell=bash", f"--source-path={JOBS}:{ROOT}", *files)


def test_what_is_wrong_is_found():
    assert "SC2154" in shellcheck("--shell=bash", "-", text="echo $never_set\n")


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_sections_of_the_apptainer_definition(section):
    definition = (CONTAINERS / "megatron-sbp.def").read_text()
    [lines] = re.findall(rf"^%{section}\n((?:    .*\n|\n)+)", definition, re.M)
    assert not shellcheck("--shell=sh", "-", text=lines), "/bin/sh runs them"


def test_the_dockerfile():
    done = subprocess.run([program("hadolint"), CONTAINERS / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
