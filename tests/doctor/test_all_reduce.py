"""The process of one rank that adds up numbers: what its end means; many ranks are in test_together.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from megatron_sbp.base.processes import held_port
from megatron_sbp.doctor.all_reduce import bus_bandwidth, run_all_reduce, share
from megatron_sbp.doctor.meeting import Attendance, Meeting
from megatron_sbp.doctor.place import Place

HERE = Attendance(["a"], [False])


def alone(port: int = 1) -> Place:
    return Place(0, 1, "a", True, "127.0.0.1", port, True)


def test_the_bandwidth_is_that_of_nccl_tests():
    assert bus_bandwidth(1000, 2.0, 2) == 500 and bus_bandwidth(1000, 2.0, 4) == 750
    assert bus_bandwidth(1000, 2.0, 1) == 0, "nothing passes a link"


def test_single_precision_holds_every_sum_of_what_ranks_add():
    """1 + 2 + ... + 6,000 has partial sums that it does not hold; ranks are added in any order."""
    assert sum(map(share, range(100_000))) < 1 << 24 and share(0) == 1 and len(set(map(share, range(64)))) == 64


def test_one_rank_has_its_own_number_as_the_sum(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    with held_port() as port:
        meeting = Meeting(alone(port), 60)
        seconds, reason = run_all_reduce(meeting.place, HERE, "gloo", 60)
    assert reason == "" and 0 < seconds < 60


def test_a_process_that_does_not_end_is_stopped():
    assert run_all_reduce(alone(), HERE, "gloo", 0.01) == (0.0, "did not finish in 0.02 s")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo Traceback >&2; echo 'RuntimeError: no such device' >&2; exit 1", (0.0, "RuntimeError: no such device")),
        ("exit 7", (0.0, "status 7")),
        ("exit 0", (0.0, "status 0")),
        ("echo a library says hello; echo 0.25", (0.25, "")),
        ("echo $PWD >&2; printf 'x%.0s' $(seq 300) >&2; exit 1", (0.0, "x" * 200)),
    ],
)
def test_what_the_process_says(tmp_path, monkeypatch, script, expected):
    """Without torch: an interpreter that says this and no more."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert run_all_reduce(alone(), HERE, "gloo", 20) == expected


def test_the_process_is_told_its_place(tmp_path: Path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\necho 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    place = Place(3, 4, "b", False, "10.0.0.1", 1234, False)
    assert run_all_reduce(place, Attendance(["a", "b", "a", "b"], [True] * 4), "nccl", 20) == (1.0, "")
    # The second rank of its node takes the second device.
    assert (tmp_path / "words").read_text().split()[3:] == ["10.0.0.1", "1234", "3", "4", "nccl", "1", "20"]
