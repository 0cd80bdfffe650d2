"""The record of consumed samples: appended, cut back at a resume, and compared with the plan."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.training import consumption
from megatron_sbp.training.consumption import Recorder, check, consumed, rewind
from megatron_sbp.training.data.data_file import DataFile, Source

DATA = DataFile(
    "documents", [Source("real", "real", 6), Source("synthetic", "synthetic", 2)], Source("valid", "valid", 4),
    8, 1, "strict", 0, 1, 2,
)  # fmt: skip
STEPS = [([0, 0, 1, 0], [0, 1, 0, 2]), ([0, 0, 1, 0], [3, 4, 1, 5])]


def record(folder: Path, *steps, rank: int = 0, first: int = 0) -> Path:
    recorder = Recorder(folder, rank)
    for iteration, (sources, samples) in enumerate(steps, first):
        recorder.record(iteration, np.array(sources), np.array(samples))
    return folder


def test_the_plan_is_met(tmp_path):
    assert check(record(tmp_path / "c", *STEPS), DATA, 2, 4, True) == {"real": 6, "synthetic": 2}


def test_ranks_add_up_whatever_their_order(tmp_path):
    for rank in (1, 0):
        record(tmp_path / "c", *[(a[rank * 2 : rank * 2 + 2], b[rank * 2 : rank * 2 + 2]) for a, b in STEPS], rank=rank)
    assert len(consumed(tmp_path / "c")) == 8
    assert check(tmp_path / "c", DATA, 2, 4, True) == {"real": 6, "synthetic": 2}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([STEPS[0], ([0, 0, 1, 0], [3, 3, 1, 5])], "'real': sample 3 was consumed twice"),
        ([STEPS[0], ([0, 0, 0, 0], [3, 4, 5, 6])], "'real': sample 6 was consumed, but 0 to 5 were planned"),
        ([STEPS[0], ([0, 0, 1, 1], [3, 4, 1, 2])], "'synthetic': sample 2 was consumed, but 0 to 1 were planned"),
        (STEPS[:1], "4 samples in 1 steps were consumed, but 2 steps of 4 were planned"),
        ([STEPS[0], ([0, 0, 1], [3, 4, 1])], "but 2 steps of 4 were planned; step 1 has 3"),
    ],
)
def test_every_difference_is_named(tmp_path, steps, message):
    with pytest.raises(InputError, match=message) as caught:
        check(record(tmp_path / "models" / "sbp" / "consumed", *steps), DATA, 2, 4, True)
    assert "move" in str(caught.value) and "models/sbp away to train again" in str(caught.value)


def test_a_sample_is_used_twice_by_two_ranks(tmp_path):
    record(tmp_path / "c", ([0, 1], [0, 0]), ([0, 1], [3, 1]))
    record(tmp_path / "c", ([0, 0], [1, 2]), ([0, 0], [1, 5]), rank=1)
    with pytest.raises(InputError, match="'real': sample 1 was consumed twice"):
        check(tmp_path / "c", DATA, 2, 4, True)


def test_blocks_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(consumption, "BLOCK", 3)
    assert check(record(tmp_path / "c", *STEPS), DATA, 2, 4, True) == {"real": 6, "synthetic": 2}
    record(tmp_path / "c", ([0], [4]), first=1)
    with pytest.raises(InputError, match="9 samples in 2 steps were consumed"):
        check(tmp_path / "c", DATA, 2, 4, True)


def test_a_tuning_that_stopped_early_need_not_be_complete(tmp_path):
    assert check(record(tmp_path / "c", STEPS[0]), DATA, 1, 4, complete=False) == {"real": 3, "synthetic": 1}
    with pytest.raises(InputError, match="'real': 3 samples were consumed, but not number 2"):
        check(record(tmp_path / "gap", ([0, 0, 1, 0], [0, 1, 0, 3])), DATA, 1, 4, complete=False)


def test_a_resumed_training_is_recorded_once(tmp_path):
    folder = record(tmp_path / "c", *STEPS, *STEPS)  # two steps that the checkpoint does not have
    record(folder, ([0], [9]), rank=1, first=7)
    rewind(folder, 2)
    assert consumed(folder)[:, 0].tolist() == [0] * 4 + [1] * 4
    rewind(folder, 1)
    record(folder, STEPS[1], first=1)
    assert check(folder, DATA, 2, 4, True) == {"real": 6, "synthetic": 2}


def test_half_a_row_of_a_killed_process_is_dropped(tmp_path):
    folder = record(tmp_path / "c", STEPS[0])
    with open(folder / "00000.i64", "ab") as file:
        file.write(b"12345")
    assert len(consumed(folder)) == 4
    rewind(folder, 1)
    assert (folder / "00000.i64").stat().st_size == 4 * 3 * 8  # what follows is aligned again
    record(folder, STEPS[1], first=1)
    assert check(folder, DATA, 2, 4, True)["real"] == 6


def test_a_row_of_which_a_part_is_written_is_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:17]))
    assert check(record(tmp_path / "c", *STEPS), DATA, 2, 4, True) == {"real": 6, "synthetic": 2}


def test_nothing_is_no_rows(tmp_path):
    assert consumed(tmp_path).shape == (0, 3)
    rewind(tmp_path / "none", 0)


def test_a_group_that_shares_the_run_folder_may_go_on(tmp_path):
    """The file was another user's alone, whatever the umask, and who resumed the training could not write to it."""
    former = os.umask(0o002)
    try:
        record(tmp_path / "c", STEPS[0])
    finally:
        os.umask(former)
    assert (tmp_path / "c" / "00000.i64").stat().st_mode & 0o777 == 0o664
