"""One undisturbed run for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_program import RECIPE, run_sbp


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> tuple[Path, str]:
    """An undisturbed run: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run_sbp("run", RECIPE, f"run_folder={folder}")
