"""Runs a program of tools/ in this process: seconds less than a start of Python that imports torch.

tests/test_programs.py starts each of them in a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
import traceback
from pathlib import Path
from unittest.mock import patch

TOOLS = Path(__file__).parents[2] / "tools"


def run_tool(name: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """What `python tools/NAME words` in the folder prints, and its exit status."""
    given = [str(TOOLS / name), *map(str, words)]
    output, errors = io.StringIO(), io.StringIO()
    status = 0
    with (
        contextlib.chdir(folder),
        patch.object(sys, "argv", given),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            runpy.run_path(given[0], run_name="__main__")
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
        except Exception:
            traceback.print_exc()
            status = 1
    return subprocess.CompletedProcess(given, status, output.getvalue(), errors.getvalue())
