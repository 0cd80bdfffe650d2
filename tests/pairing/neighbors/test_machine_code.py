"""Single instructions, beside what NumPy says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np

from megatron_sbp.pairing.neighbors.machine_code import (  # noqa: F401
    LANES,
    _converts_halves,
    above,
    half_to_float,
    lowest_bit,
    prefetch,
)


@numba.njit
def floats(bits, into):
    for place in range(bits.size):
        into[place] = half_to_float(bits[place])


@numba.njit
def masks(scores, begins, threshold, into):
    for place in range(begins.size):
        into[place] = above(scores, begins[place], threshold)


@numba.njit
def lowest(numbers, into):
    for place in range(numbers.size):
        into[place] = lowest_bit(numbers[place])


@numba.njit
def ask_and_read(row):
    for place in range(row.size):
        prefetch(row, place)
    return row.sum()


def test_float16():
    every = np.arange(2**16, dtype=np.uint16)
    wide = np.empty(2**16, np.float32)
    floats(every, wide)
    np.testing.assert_array_equal(wide, every.view(np.float16).astype(np.float32))
    assert np.signbit(wide[0x8000]) and not np.signbit(wide[0])


def test_a_processor_that_cannot_convert_them(tmp_path):
    script = "import test_machine_code as here; here.test_float16(); print(here._converts_halves())"
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "False"


def test_scores_above_a_threshold():
    scores = np.round(np.random.default_rng(0).standard_normal(300), 1).astype(np.float32)
    scores[[7, 100]] = -np.inf, np.inf
    begins = np.arange(300 - LANES + 1)
    for threshold in (-np.inf, -0.5, 0.0, scores[50], 3.0, np.inf):
        found = np.empty(begins.size, np.uint64)
        masks(scores, begins, np.float32(threshold), found)
        bits = found[:, None] >> np.arange(LANES, dtype=np.uint64) & np.uint64(1)
        windows = np.lib.stride_tricks.sliding_window_view(scores, LANES)
        np.testing.assert_array_equal(bits.astype(bool), windows > np.float32(threshold))


def test_lowest_bit():
    random = np.random.default_rng(0)
    places = np.arange(64)
    low = np.uint64(1) << places.astype(np.uint64)
    found = np.empty(64, np.int64)
    lowest(low | random.integers(0, 2**63, 64).astype(np.uint64) * low * np.uint64(2), found)
    np.testing.assert_array_equal(found, places)


def test_asking_for_memory_changes_nothing():
    row = np.arange(1000, dtype=np.uint16)
    assert ask_and_read(row) == 499500 and (row == np.arange(1000)).all()
