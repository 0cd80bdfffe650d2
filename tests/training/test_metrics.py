"""Rows of metrics.jsonl: whole or left out, and never changed without being noticed."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.training.metrics import Metrics, read_metrics

ROWS = [
    {"kind": "train", "iteration": n, "loss": 5.0 - n / 7, "none": None, "nested": {"a": [1e-9, 2]}} for n in range(4)
]


@pytest.fixture
def metrics(tmp_path) -> Metrics:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    for row in ROWS:
        metrics.append(row)
    return metrics


def test_rows_come_back_as_they_were(metrics, tmp_path):
    assert read_metrics(metrics.path) == ROWS
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_a_half_written_last_row_is_left_out(metrics):
    data = metrics.path.read_bytes()
    for cut in range(len(data) - len(data.splitlines()[-1]), len(data) - 1):
        metrics.path.write_bytes(data[:cut])
        assert read_metrics(metrics.path) == ROWS[:3]


def test_rewinding_keeps_the_rows_before(metrics):
    metrics.rewind(1)
    assert read_metrics(metrics.path) == ROWS[:2]


def test_rows_of_a_kind_are_read_without_the_others(metrics):
    evaluated = {"kind": "valid", "iteration": 3, "loss": 2.5}
    metrics.append(evaluated)
    whole = metrics.path.read_bytes()
    metrics.path.write_bytes(whole.replace(b"5.0", b"5.1") + b'{"kind": "train", "iter')
    assert read_metrics(metrics.path, "valid") == [evaluated]
    metrics.path.write_bytes(whole.replace(b"2.5", b"2.6"))
    with pytest.raises(InputError, match=r"metrics\.jsonl:5: "):
        read_metrics(metrics.path, "valid")
    metrics.path.write_bytes(whole[:-2])
    assert read_metrics(metrics.path, "valid") == []


def test_a_changed_row_is_named(metrics):
    data = metrics.path.read_bytes()
    for place in range(0, len(data) - len(data.splitlines()[-1]) - 1, 3):
        changed = bytearray(data)
        changed[place] ^= 1
        metrics.path.write_bytes(changed)
        with pytest.raises(InputError, match=r"metrics\.jsonl:\d: .*move .* away to train again"):
            read_metrics(metrics.path)


def test_rows_of_before_there_were_check_sums(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "valid", "iteration": 3, "loss": 2.5}\n')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"kind": "valid", "iteration": 3, "loss": 2.5}]


def test_a_row_that_does_not_fit_leaves_no_part_of_it(metrics):
    """On a full disk; the next start, with room again, appends to whole rows."""
    size, limits = metrics.path.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            metrics.append({"kind": "valid", "iteration": 4, "loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert metrics.path.stat().st_size == size
    metrics.append({"kind": "valid", "iteration": 4, "loss": 1.0})
    assert read_metrics(metrics.path) == [*ROWS, {"kind": "valid", "iteration": 4, "loss": 1.0}]


def test_a_group_that_shares_the_run_folder_may_go_on(tmp_path):
    """The file was another user's alone, whatever the umask."""
    former = os.umask(0o002)
    try:
        Metrics(tmp_path / "metrics.jsonl").append(ROWS[0])
    finally:
        os.umask(former)
    assert (tmp_path / "metrics.jsonl").stat().st_mode & 0o777 == 0o664
