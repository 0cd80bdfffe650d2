"""What a machine lacks: a failure in CI, a skip elsewhere and where nothing can be reached. The programs are real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import lacking

pytestmark = pytest.mark.slow

NOBODY = "http://127.0.0.1:9"
FAILED, SKIPPED = pytest.fail.Exception, pytest.skip.Exception
UV = Path(sys.executable).with_name("uv")


@pytest.fixture
def in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")


def said(*words: str | Path, **variables: str) -> str:
    done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)
    assert done.returncode
    return done.stdout + done.stderr


def from_uv(folder: Path, *words: str, **variables: str) -> str:
    install = (UV, "pip", "install", "--python", sys.executable, "--no-cache", "--dry-run", "--target", folder)
    return said(*install, *words, UV_HTTP_RETRIES="0", **variables)


def from_pip(folder: Path, *words: str) -> str:
    download = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder)
    return said(*download, *words, PIP_CONFIG_FILE=os.devnull, PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="")


def from_apt(folder: Path) -> str:
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "sources").write_text(f"deb [trusted=yes] {NOBODY}/debian bookworm main\n")
    options = {"Dir::Etc::sourcelist": folder / "sources", "Dir::Etc::sourceparts": "/dev/null"}
    options |= {"Dir::State::lists": folder / "lists", "Acquire::Retries": 0, "APT::Update::Error-Mode": "any"}
    return said("apt-get", "update", "-q", *(f"-o{name}={value}" for name, value in options.items()))


def test_without_a_network_it_is_one_line_even_in_ci(in_ci, tmp_path):
    found = {"uv": from_uv(tmp_path, "idna", UV_DEFAULT_INDEX=NOBODY)}
    found["pip"] = from_pip(tmp_path, "idna", "--retries", "1", "--index-url", NOBODY)
    if shutil.which("apt-get"):
        found["apt-get"] = from_apt(tmp_path)
    for program, output in found.items():
        with pytest.raises(SKIPPED, match=r"^no network: X could not be installed: .+$") as caught:
            lacking.lacking("X could not be installed", output)
        assert "\n" not in str(caught.value), program


def test_what_an_index_does_not_have_fails_in_ci(in_ci, tmp_path):
    for output in (from_uv(tmp_path, "--no-index", "idna==99"), from_pip(tmp_path, "--no-index", "idna==99")):
        with pytest.raises(FAILED, match=r"CI is set, so this is no skip: X could not be installed\n(.*\n)*.*idna"):
            lacking.lacking("X could not be installed", output)


def test_a_first_attempt_does_not_decide(in_ci, tmp_path):
    """torch's own index cannot be reached everywhere, and the script then asks the usual one."""
    unreachable, unknown = from_uv(tmp_path, "idna", UV_DEFAULT_INDEX=NOBODY), from_uv(tmp_path, "--no-index", "idna")
    assert not lacking.no_network(f"{unreachable}setup: without torch's own index\n{unknown}")
    assert lacking.no_network(f"setup: Python 3.12\n{unreachable}")


def test_it_is_installed_where_that_is_wanted(monkeypatch, tmp_path):
    made = tmp_path / "made"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(lacking.tempfile, "tempdir", None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(SKIPPED, match=r"^X is not installed \(SBP_TEST_X=1 installs it with apt-get\)$"):
        lacking.installed_by_apt("X", made.exists, "SBP_TEST_X", "no-such-package")
    lacking.installed("X", made.exists, "touch", made)
    lacking.installed("X", made.exists, "false")  # there by now
    with pytest.raises(SKIPPED, match=r"^Y could not be installed: is full$"):
        lacking.installed("Y", lambda: False, "sh", "-c", "echo is full >&2; exit 1")
    for variable in ("CI", "SBP_TEST_X"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "1")
            assert lacking.wanted("SBP_TEST_X")
    assert not lacking.wanted("SBP_TEST_X")


def test_ci_says_that_it_is_ci():
    text = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    assert "\nexport CI=true" in text and text.index("export CI=true") < text.index("make test")
