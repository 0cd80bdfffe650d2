"""What several tests of the executor share."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.toy_runs import WORDS


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    return tmp_path
