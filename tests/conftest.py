"""Fixtures shared by all tests. Nothing here reaches the network."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """Keeps the tests of a file on one worker, and those that share the one undisturbed run together."""
    for item in items:
        shares_run = "whole_run" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("whole_run" if shares_run else str(item.path)))
