"""`touch RUN/save`: a checkpoint without stopping."""

from __future__ import annotations

import os
import threading
import time

import pytest

from megatron_sbp.training.save_request import SaveRequest


def test_every_touch_asks_once(tmp_path):
    file = tmp_path / "save"
    request = SaveRequest(file)
    assert not request.is_new()
    file.touch()
    assert request.is_new() and not request.is_new()
    os.utime(file, ns=(1, 1))  # a clock that goes back is a touch too
    assert request.is_new() and not request.is_new()
    file.unlink()
    assert not request.is_new()


def test_a_file_of_an_earlier_start_asks_for_nothing(tmp_path):
    (tmp_path / "save").touch()
    assert not SaveRequest(tmp_path / "save").is_new() and not SaveRequest(None).is_new()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
def test_a_training_saves_when_the_file_is_touched_and_continues(megatron, ranks):
    layout = [] if ranks == 1 else ["--tensor-model-parallel-size", "2", "--make-vocab-size-divisible-by", "64"]
    megatron.data("usual", {"real": 200})
    megatron.train("usual", 200, "--save-interval", "1000", *layout, ranks=ranks)
    folder = megatron.data("asked", {"real": 200})
    file, metrics = megatron.folder / "save", folder / "metrics.jsonl"

    def touch() -> None:
        while '"iteration": 3' not in (metrics.read_text() if metrics.exists() else ""):
            time.sleep(0.02)
        file.touch()

    touching = threading.Thread(target=touch)
    touching.start()
    said = megatron.train("asked", 200, "--save-interval", "1000", "--sbp-save-file", str(file), *layout, ranks=ranks)
    touching.join()
    # The one that was asked for, and that of the end.
    saved = sorted(int(path.name.removeprefix("iter_")) for path in folder.glob("iter_*"))
    assert len(saved) == 2 and 3 <= saved[0] < 25 == saved[1]
    assert f"sbp: step {saved[0]} | {file} was touched: saving a checkpoint" in said
    assert megatron.losses("asked") == megatron.losses("usual") and file.exists()
