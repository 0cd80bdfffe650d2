"""One undisturbed run for all tests of this folder, whichever test process they are in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.whole_program import ONE_WORKER, RECIPE, run_sbp

from megatron_sbp.base.locks import locked


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> tuple[Path, str]:
    """An undisturbed run: its folder, and what it printed."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, printed = shared / "whole-run", shared / "whole-run.txt"
    with locked(shared / "whole-run.lock", "the undisturbed run"):
        if not printed.exists():
            printed.write_text(run_sbp("run", RECIPE, f"run_folder={folder}", ONE_WORKER))
    return folder, printed.read_text()
