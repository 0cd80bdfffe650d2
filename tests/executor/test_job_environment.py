"""The variables that tell a job something have one reader."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import megatron_sbp
from megatron_sbp.executor.job_environment import JobEnvironment

PACKAGE = Path(megatron_sbp.__file__).parent
READERS = {"executor/job_environment.py": {"SBP_FAULTS", "SBP_MAX_RETRIES", "SBP_COMMAND"}}


def named(source: str) -> set[str]:
    """The SBP_ variables that code names, unless it sets them: as keys of a dictionary."""
    tree = ast.parse(source)
    keys = {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in keys)
    return {node.value for node in names if isinstance(node.value, str) and re.fullmatch("SBP_[A-Z_]+", node.value)}


def test_only_the_command_line_looks_at_their_own_environment():
    """Everything below them is given what it needs."""
    looks = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if re.search(r"JobEnvironment\.of\((os\.)?environ\)", file.read_text())
    }
    assert looks == {"cli/command.py", "cli/run_verbs.py"}


def test_what_sets_one_is_not_a_reader():
    assert named('{"SBP_X": value}') == set()


def test_no_other_module_reads_one():
    found = {str(file.relative_to(PACKAGE)): named(file.read_text()) for file in PACKAGE.rglob("*.py")}
    assert {file: names for file, names in found.items() if names} == READERS


@pytest.mark.parametrize(
    "source", ['os.environ["SBP_X"]', 'os.environ.get("SBP_X", "")', 'os.getenv("SBP_X")', 'NAME = "SBP_X"']
)
def test_every_way_to_read_one_is_seen(source):
    assert named(source) == {"SBP_X"}


@pytest.mark.parametrize(("given", "retries"), [("3", 3), ("", 0), ("-1", 0), ("many", 0)])
def test_what_a_job_is_told(given, retries):
    told = {"SBP_FAULTS": "/run/faults", "SBP_MAX_RETRIES": given, "SBP_COMMAND": "python -m megatron_sbp"}
    job = JobEnvironment.of(told)
    assert (job.faults, job.max_retries, job.command) == (Path("/run/faults"), retries, "python -m megatron_sbp")


def test_outside_of_a_job():
    job = JobEnvironment.of({"SBP_FAULTS": "", "SBP_COMMAND": ""})
    assert (job.faults, job.max_retries, job.command) == (None, 0, None)


def test_one_module_reads_the_share_of_cores():
    """As OpenMP does: `sbp run` and job.sh set it for libraries, too."""
    found = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if re.search(r"""(get\(|\[)"OMP_NUM_THREADS""", file.read_text())
    }
    assert found == {"tokenization/pieces.py"}
