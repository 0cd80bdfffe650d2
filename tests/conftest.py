"""Fixtures shared by all tests. Nothing here reaches the network."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_itemcollected(item):
    """Keeps the tests of a file on one worker of xdist, and those that share the one undisturbed run together."""
    shares_run = "whole_run" in getattr(item, "fixturenames", ())
    item.add_marker(pytest.mark.xdist_group("whole_run" if shares_run else item.path.stem))
