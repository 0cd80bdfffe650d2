"""The processes of a stage: how they end, and what of the machine each of them has."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest
from support import stage_toys
from support.stage_toys import make_run

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.stage_processes import ALONE, Place, StageFailed, StageProcesses
from megatron_sbp.stages.stage import by_name


@pytest.fixture
def run(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\n")
    return make_run(tmp_path)


@pytest.fixture
def python(tmp_path, monkeypatch) -> Path:
    """A program in place of Python that writes down what it was given, a file per worker."""
    program = tmp_path / "python"
    told = '"${CUDA_VISIBLE_DEVICES-none} $OMP_NUM_THREADS"'
    program.write_text(f'#!/bin/sh\necho {told} > "$0.$(echo $7 | tr / -)"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    return program


def given(run, python: Path, kind: str, workers: int = 1, place: Place = ALONE) -> list[list[str]]:
    """Devices and threads of every worker."""
    stage = by_name(stage_toys.graph(), "words")
    stage.device = kind
    processes = StageProcesses(run, stage, ["recipe.yaml"], workers, place)
    while not processes.ended():
        time.sleep(0.01)
    processes.check()
    return [path.read_text().split() for path in sorted(python.parent.glob("python.*"))]


@pytest.mark.parametrize(("status", "told"), [(-signal.SIGKILL, "SIGKILL"), (1, "1")])
def test_words_for_an_end(status, told):
    error = StageFailed("embed", status, worker=3)
    assert told in str(error) and "embed, worker 3," in str(error) and error.status == status


@pytest.mark.parametrize(
    ("device", "kind", "named", "seen"),
    [("auto", "gpu", "3,5", ["3", "5"]), ("auto", "cpu", "3,5", ["3,5", "3,5"]), ("cpu", "gpu", "3,5", ["3,5", "3,5"]),
     ("auto", "gpu", "7", ["7", "7"]), ("auto", "gpu", None, ["none", "none"])],
)  # fmt: skip
def test_workers_get_gpus_of_their_own(run, python, monkeypatch, device, kind, named, seen):
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    run.recipe.launch.device = device
    assert given(run, python, kind, 2) == [[devices, "8"] for devices in seen]


@pytest.mark.parametrize(
    ("kind", "workers", "place", "seen"),
    [("training", 1, Place(0, 2), [["0,1,2,3", "8"]]), ("training", 1, Place(1, 2), [["4,5,6,7", "8"]]),
     ("training", 1, Place(), [["0,1,2,3,4,5,6,7", "16"]]), ("gpu", 2, Place(3, 4), [["6", "2"], ["7", "2"]]),
     ("gpu", 1, Place(2, 4), [["4,5", "4"]]), ("cpu", 1, Place(1, 4), [["0,1,2,3,4,5,6,7", "4"]])],
)  # fmt: skip
def test_stages_side_by_side_share_cores_and_gpus(run, python, monkeypatch, kind, workers, place, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    run.recipe.launch.device, run.recipe.launch.ranks_per_node = "auto", 4
    assert given(run, python, kind, workers, place) == seen


def test_too_few_gpus_for_the_ranks_of_a_training(run, python, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    run.recipe.launch.device, run.recipe.launch.ranks_per_node = "auto", 4
    with pytest.raises(InputError, match=r"4 ranks of words need a GPU each, but --jobs 3 leaves 2 of 8 for a stage"):
        given(run, python, "training", place=Place(0, 3))
    run.recipe.launch.device = "cpu"
    assert given(run, python, "training", place=Place(0, 3))


def test_too_few_gpus_for_vllm_in_every_worker(run, python, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr(stage_toys.Stage, "gpus", lambda self, run: 2)
    run.recipe.launch.device = "auto"
    assert [devices for devices, _ in given(run, python, "gpu", 2)] == ["0,1", "2,3"]
    with pytest.raises(InputError, match=r"2 GPUs share .* of words, but launch.workers 3 leaves 1 of 4 for one"):
        given(run, python, "gpu", 3)


def test_a_signal_and_the_end(run, python):
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    stage = by_name(stage_toys.graph(), "words")
    for number, send in ((signal.SIGTERM, lambda one: one.send(signal.SIGTERM)), (signal.SIGKILL, StageProcesses.kill)):
        processes = StageProcesses(run, stage, ["recipe.yaml"], 2)
        assert not processes.ended()
        send(processes)
        while not processes.ended():
            time.sleep(0.01)
        with pytest.raises(StageFailed, match="words, worker 1,") as caught:
            processes.check()
        assert caught.value.status == -number
