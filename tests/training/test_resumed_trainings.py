"""A training that stops and resumes ends with the parameters of one that did not stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from support.checkpoint_tensors import checkpoint_tensors
from support.megatron_ranks import Megatron, ServedMegatron

from megatron_sbp.checkpoint import tracker

pytestmark = pytest.mark.timeout(900)

STEPS, HALF, BATCH = 10, 5, 8
SOURCES = {"real": 60, "synthetic": 20}
EVERY = ["--save-interval", str(HALF), "--log-interval", "1", "--num-layers", "4"]
DISTRIBUTED = ["--use-distributed-optimizer", "--dist-ckpt-optim-fully-reshardable"]
PADDED = ["--make-vocab-size-divisible-by", "64"]
LAYOUTS = {
    "serial": (1, []),
    "data": (2, DISTRIBUTED),
    "data, gradients and parameters overlapped": (
        2,
        [*DISTRIBUTED, "--overlap-grad-reduce", "--overlap-param-gather"],
    ),
    "bf16": (2, [*DISTRIBUTED, "--bf16"]),
    "tensor and pipeline": (
        4,
        ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2", *PADDED],
    ),
}


@pytest.fixture(scope="module")
def serial(corpus, tmp_path_factory, rank_server) -> ServedMegatron:
    """With a finished training of one rank, `whole`, of which tests make copies."""
    megatron = ServedMegatron(corpus, tmp_path_factory.mktemp("serial"), rank_server)
    megatron.data("whole", SOURCES)
    megatron.train("whole", STEPS * BATCH, *EVERY)
    return megatron


def cut_back(megatron: Megatron, source: str, name: str) -> Path:
    """A copy of a finished training as it was after its first half, with the logs of what came after."""
    target = megatron.folder / name
    shutil.copytree(megatron.folder / source, target)
    shutil.rmtree(target / f"iter_{STEPS:07d}")
    (target / "stopped.txt").unlink()
    (target / tracker.NAME).write_text(str(HALF))
    return target


def assert_same_end(one: Path, other: Path) -> None:
    """Bit-equal parameters and optimizer at the last step."""
    left, right = (checkpoint_tensors(folder / f"iter_{STEPS:07d}") for folder in (one, other))
    assert left.keys() == right.keys() and any("exp_avg_sq" in name for name in left)
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


@pytest.mark.parametrize(
    "layout",
    # The distributed optimizer: `test_resume_in_another_layout` and `test_asynchronous_saving` have it too.
    [name if name == "tensor and pipeline" else pytest.param(name, marks=pytest.mark.exhaustive) for name in LAYOUTS],
)
def test_resume_is_bit_equal(megatron, layout):
    ranks, flags = LAYOUTS[layout]
    megatron.data("whole", SOURCES)
    megatron.train("whole", STEPS * BATCH, *EVERY, *flags, ranks=ranks)
    cut_back(megatron, "whole", "resumed")
    text = megatron.train("resumed", STEPS * BATCH, *EVERY, *flags, ranks=ranks)
    assert f"step {HALF} of {STEPS}" in text
    assert_same_end(megatron.folder / "whole", megatron.folder / "resumed")
    assert megatron.losses("resumed") == megatron.losses("whole")
    assert megatron.losses("resumed", "valid") == megatron.losses("whole", "valid")


def test_resume_in_another_layout(megatron):
    """A checkpoint of two data-parallel ranks with the distributed optimizer resumes as TP 2, PP 2 and one rank."""
    megatron.data("whole", SOURCES)
    megatron.train(
        "whole", STEPS * BATCH, *EVERY, *DISTRIBUTED, *EVERY, "--make-vocab-size-divisible-by", "128", ranks=2
    )
    for name, ranks, layout in (
        ("tensor", 2, ["--tensor-model-parallel-size", "2", *PADDED]),
        ("pipeline", 2, ["--pipeline-model-parallel-size", "2", "--make-vocab-size-divisible-by", "128"]),
        ("serial", 1, ["--make-vocab-size-divisible-by", "128"]),
    ):
        cut_back(megatron, "whole", name)
        megatron.train(name, STEPS * BATCH, *EVERY, *DISTRIBUTED, *layout, ranks=ranks)
        losses, expected = megatron.losses(name), megatron.losses("whole")
        worst = max(abs(losses[step] - expected[step]) for step in expected)
        print(f"DP 2 resumed as {name}: largest difference of a loss {worst:.1e}")
        assert worst <= 1e-5


def test_asynchronous_saving(megatron):
    """--async-save ends with the same parameters, and a training resumes from its checkpoints."""
    megatron.data("whole", SOURCES)
    megatron.train("whole", STEPS * BATCH, *EVERY, *DISTRIBUTED, ranks=2)
    megatron.data("async", SOURCES)
    megatron.train("async", STEPS * BATCH, *EVERY, *DISTRIBUTED, "--async-save", ranks=2)
    assert_same_end(megatron.folder / "whole", megatron.folder / "async")
    cut_back(megatron, "async", "resumed")
    megatron.train("resumed", STEPS * BATCH, *EVERY, *DISTRIBUTED, "--async-save", ranks=2)
    assert_same_end(megatron.folder / "whole", megatron.folder / "resumed")


def test_a_half_written_checkpoint_is_never_loaded(serial):
    half = serial.folder / "whole" / f"iter_{STEPS:07d}"
    for name, text in (("behind", str(HALF)), ("empty", "")):
        target = cut_back(serial, "whole", name)
        shutil.copytree(half, target / half.name)
        (target / half.name / "metadata.json").unlink()
        for file in (target / half.name).glob("*.distcp"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        (target / tracker.NAME).write_text(text)
        serial.train(name, STEPS * BATCH, *EVERY)
        assert_same_end(serial.folder / "whole", target)
    target = cut_back(serial, "whole", "gone")
    (target / tracker.NAME).write_text(str(STEPS))
    text = serial.train("gone", STEPS * BATCH, *EVERY, status=2)
    assert f"names iteration {STEPS}, but the complete checkpoints here are [{HALF}]" in text


def test_time_limit(serial):
    """--exit-duration-in-mins: a checkpoint, exit status 3, no stopped.txt; the next start resumes exactly."""
    folder = serial.data("limited", SOURCES)
    minutes = ["--exit-duration-in-mins", "1"]
    serial.train("limited", STEPS * BATCH, *EVERY, *minutes, began=3600, status=3)
    assert (folder / tracker.NAME).read_text() == "1" and not (folder / "stopped.txt").exists()
    serial.train("limited", STEPS * BATCH, *EVERY)
    assert_same_end(serial.folder / "whole", folder)
    assert serial.losses("limited", "valid") == serial.losses("whole", "valid")
    assert (folder / "stopped.txt").read_text() == "end of the plan"


def test_an_evaluation_that_was_cut_off_is_done_at_the_next_start(serial):
    target = cut_back(serial, "whole", "resumed")
    rows = [json.loads(line) for line in (target / "metrics.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["iteration"] <= HALF and row["kind"] == "train"]
    (target / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    serial.train("resumed", STEPS * BATCH, *EVERY)
    assert serial.losses("resumed", "valid") == serial.losses("whole", "valid")
    assert_same_end(serial.folder / "whole", target)


@pytest.mark.exhaustive
def test_a_checkpoint_that_one_rank_gathered(megatron):
    """--distrib-optim-fully-reshardable-mem-efficient may come and go between starts."""
    gathered = "--distrib-optim-fully-reshardable-mem-efficient"
    megatron.data("whole", SOURCES)
    megatron.train("whole", STEPS * BATCH, *EVERY, *DISTRIBUTED, gathered, ranks=2)
    for name, flags in (("with", [gathered]), ("without", [])):
        cut_back(megatron, "whole", name)
        megatron.train(name, STEPS * BATCH, *EVERY, *DISTRIBUTED, *flags, ranks=2)
        assert_same_end(megatron.folder / "whole", megatron.folder / name)
