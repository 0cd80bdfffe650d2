"""scripts/setup.sh with made-up interpreters: which one it takes, when it does nothing, what it says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/bin/bash
echo "$0 $@" >>{calls}
case "$*" in
  "-m venv .venv")
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python; cp "$0" .venv/bin/python3.12; cp {uv} .venv/bin/uv ;;
  *ensurepip*) exit {without_venv} ;;
  --version) echo Python 3.12.9 ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    """A clone with a Python 3.12 in PATH; returns a function that runs the script."""
    folder, tools, calls = tmp_path / "clone", tmp_path / "tools", tmp_path / "calls"
    (folder / "scripts").mkdir(parents=True)
    tools.mkdir()
    for name in ("scripts/setup.sh", "requirements.lock", "setup.py", ".python-version"):
        shutil.copy(ROOT / name, folder / name)
    for tool in ("bash", "cat", "cp", "cut", "dirname", "grep", "mkdir", "paste", "rm", "sha256sum", "tr"):
        (tools / tool).symlink_to(shutil.which(tool))
    (tmp_path / "uv").write_text("#!/bin/bash\n")
    (tmp_path / "uv").chmod(0o755)

    def run(*before: Path, without_venv: int = 0) -> subprocess.CompletedProcess[str]:
        text = PYTHON.format(calls=calls, uv=tmp_path / "uv", without_venv=without_venv)
        (tools / "python3.12").write_text(text)
        (tools / "python3.12").chmod(0o755)
        path = ":".join(map(str, [*before, tools]))
        return subprocess.run(
            ["bash", "scripts/setup.sh"], cwd=folder, env={"PATH": path}, capture_output=True, text=True, timeout=60
        )

    run.folder, run.calls, run.python = folder, calls, tools / "python3.12"
    return run


def test_a_second_call_does_nothing_until_the_lock_changes(clone):
    assert clone().returncode == 0 and (clone.folder / ".venv" / ".installed").exists()
    clone.calls.unlink()
    assert clone().stderr == "" and clone.calls.read_text().count("\n") == 1  # whether the environment works
    (clone.folder / "requirements.lock").write_text("more")
    assert "setup: done" in clone().stderr


def test_the_environment_that_is_replaced_is_not_chosen(clone):
    """With .venv activated its own python3.12 came first: it was deleted, and then could not make the next one."""
    assert clone().returncode == 0
    (clone.folder / "requirements.lock").write_text("more")
    done = clone(clone.folder / ".venv" / "bin")
    assert done.returncode == 0 and f"at {clone.python}\n" in done.stderr, done.stderr


def test_what_is_missing_is_named_before_anything_is_removed(clone):
    assert clone().returncode == 0
    (clone.folder / "requirements.lock").write_text("more")
    done = clone(without_venv=1)
    assert done.returncode == 1 and "has no venv module, and there is no uv" in done.stderr
    assert (clone.folder / ".venv" / "bin" / "python").exists()
