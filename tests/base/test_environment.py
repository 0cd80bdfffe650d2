"""What the machine says of itself."""

from __future__ import annotations

import importlib.metadata
import json
import platform

from megatron_sbp.base.environment import PACKAGES, environment


def test_versions_are_those_installed_and_missing_ones_are_null():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["torch"] == importlib.metadata.version("torch")
    assert set(PACKAGES) <= set(found)
    assert found["cores"] >= 1 and found["memory_bytes"] > 2**20
    assert isinstance(found["gpu"], list)
    json.dumps(found, allow_nan=False)
