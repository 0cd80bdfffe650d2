"""The packages are those that Megatron itself looks for, by the module that it imports."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from megatron_sbp.training.optional_packages import UNFUSED


@pytest.mark.parametrize(("module", "name", "cost"), UNFUSED)
def test_megatron_imports_it_and_names_it_so(module, name, cost):
    """A module that an upgrade of Megatron no longer uses would be missed for nothing."""
    found = importlib.util.find_spec("megatron.core")
    assert found is not None and found.submodule_search_locations
    sources = Path(found.submodule_search_locations[0]).rglob("*.py")
    used = [file for file in sources if f"import {module}" in (text := file.read_text()) or f"from {module}" in text]
    assert used and len(cost) > 20 and name[0].isupper()
