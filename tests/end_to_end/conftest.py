"""One undisturbed run for all tests of this folder, whichever test process they are in."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made_once import made_once
from support.whole_program import ONE_WORKER, RECIPE, run_sbp


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory) -> tuple[Path, str]:
    """An undisturbed run: its folder, and what it printed."""

    def make(folder: Path) -> None:
        (folder / "printed.txt").write_text(run_sbp("run", RECIPE, f"run_folder={folder / 'run'}", ONE_WORKER))

    folder = made_once(tmp_path_factory, "whole-run", make)
    return folder / "run", (folder / "printed.txt").read_text()
