"""The start of the program."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from support.whole_program import RECIPE, environment

INTERRUPTED = """
import os, runpy, signal, sys

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, AtImport())
sys.argv = ["sbp", "schema"]
runpy.run_module("megatron_sbp", run_name="__main__")
"""


@pytest.mark.parametrize(
    "name", ["megatron_sbp.cli", "pydantic", "megatron_sbp.recipe.sections", "megatron_sbp.executor.stage_processes"]
)
def test_an_interrupt_while_modules_load_is_one_line(name):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED.format(name=name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "sbp: interrupted; run the same command again to resume\n"


def test_the_command_and_the_module_are_one():
    (command,) = (found for found in entry_points(group="console_scripts") if found.name == "sbp")
    assert command.value == "megatron_sbp.__main__:main"
    done = subprocess.run([sys.executable, "-m", "megatron_sbp", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip()


CLOSED = """
import sys
from megatron_sbp.__main__ import run

said = sys.argv.pop()
sys.argv[1:] = ["schema"]
status = run()
with open(said, "w") as file:
    file.write(f"{status} {file.fileno() > 2}")
"""


def test_streams_that_the_caller_closed(tmp_path):
    """Without them there was a traceback, and the next files that were opened had the numbers of the streams."""
    words = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-c", CLOSED, str(tmp_path / "said")]
    subprocess.run(words, timeout=60)
    assert (tmp_path / "said").read_text() == "0 True"


def test_what_the_terminal_cannot_encode_is_escaped(tmp_path):
    """A document, or a path, in a terminal of another character set ended `sbp status` and `sbp trace` with a
    traceback."""
    words = [sys.executable, "-m", "megatron_sbp", "status", str(RECIPE), f"run_folder={tmp_path}/é 日"]
    latin = {**environment(), "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(words, env=latin, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\xe9 \\u65e5, " in done.stdout
