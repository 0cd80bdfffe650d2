"""Functions compiled by numba, where there is and is no place to keep them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from megatron_sbp.base.compiling import CACHED
from megatron_sbp.overlap import hash_table

SCRIPT = """
from megatron_sbp.overlap.hash_table import slots_for
print(slots_for(5))
"""


def test_they_are_kept_here():
    assert CACHED and hash_table.slots_for.stats.cache_path


@pytest.mark.parametrize("folder", [None, "cache"])
def test_no_place_to_keep_them_is_no_error(tmp_path, folder):
    """As for a user without a home folder, and with a package that others installed: of all places that numba looks
    at, only NUMBA_CACHE_DIR is left."""
    environment = {**os.environ, "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    environment.pop("NUMBA_CACHE_DIR", None)
    if folder:
        environment["NUMBA_CACHE_DIR"] = str(tmp_path / folder)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "16\n", done.stderr
    assert ("set NUMBA_CACHE_DIR" in done.stderr) == (folder is None)
    assert any(tmp_path.rglob("hash_table.slots_for*")) == (folder is not None)
