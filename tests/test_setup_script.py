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
    for name in ("scripts/setup.sh", "scripts/own_environment.sh", "requirements.lock", "setup.py", ".python-version"):
        shutil.copy(ROOT / name, folder / name)
    for tool in "bash cat cp cut dirname find grep ls mkdir paste sha256sum touch tr".split():
        (tools / tool).symlink_to(shutil.which(tool))
    (tmp_path / "uv").write_text("#!/bin/bash\n")
    (tmp_path / "uv").chmod(0o755)

    def program(file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def run(*before: Path, without_venv: int = 0, python: Path | None = None) -> subprocess.CompletedProcess[str]:
        text = PYTHON.format(calls=calls, uv=tmp_path / "uv", without_venv=without_venv)
        program(python or tools / "python3.12", text)
        path = ":".join(map(str, [*before, tools]))
        return subprocess.run(
            ["bash", "scripts/setup.sh"], cwd=folder, env={"PATH": path}, capture_output=True, text=True, timeout=60
        )

    run.folder, run.calls, run.python, run.tools, run.program = folder, calls, tools / "python3.12", tools, program
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


def test_an_environment_of_somebody_else_is_not_replaced(clone):
    own = clone.folder / ".venv" / "bin" / "python"
    clone.program(own, "#!/bin/bash\n")
    done = clone()
    assert done.returncode == 1 and "setup: .venv was not made by this script" in done.stderr
    assert own.exists()


def test_the_environment_may_be_a_link_to_another_disk(clone, tmp_path):
    (tmp_path / "scratch").mkdir()
    (clone.folder / ".venv").symlink_to(tmp_path / "scratch")
    assert clone().returncode == 0 and (tmp_path / "scratch" / ".installed").exists()
    (tmp_path / "scratch" / "left-over").touch()
    (clone.folder / "requirements.lock").write_text("more")
    assert clone().returncode == 0 and (clone.folder / ".venv").is_symlink()
    assert not (tmp_path / "scratch" / "left-over").exists()


def test_a_python_of_pyenv_is_found(clone, tmp_path):
    clone.program(clone.tools / "pyenv", f"#!/bin/bash\necho {tmp_path}/pyenv\n")
    python = tmp_path / "pyenv" / "versions" / "3.12.9" / "bin" / "python"
    clone.program(clone.tools / "python3", "#!/bin/bash\nexit 1\n")  # an older one
    done = clone(python=python)
    assert done.returncode == 0 and f"at {python}\n" in done.stderr, done.stderr


def test_a_python_of_uv_is_found_or_installed(clone, tmp_path):
    """`uv python find` finds none until `uv python install 3.12` was called."""
    python = tmp_path / "uv-python" / "bin" / "python3.12"
    uv = """#!/bin/bash
case "$*" in
  "python find --system 3.12") [ -e {done} ] && echo {python} ;;
  "python install -q 3.12") echo >{done} ;;
esac
"""
    clone.program(clone.tools / "uv", uv.format(done=tmp_path / "installed", python=python))
    done = clone(python=python)
    assert done.returncode == 0 and f"at {python}\n" in done.stderr, done.stderr
    assert (tmp_path / "installed").exists()


def test_without_any_python_the_ways_to_get_one_are_named(clone, tmp_path):
    done = clone(python=tmp_path / "nowhere")
    assert done.returncode == 1 and "no Python 3.12 found (looked for python3.12, pyenv, uv)" in done.stderr
