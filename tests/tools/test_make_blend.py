"""tools/make_blend.py as its user runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.tool_runs import run_tool

from megatron_sbp.tokenization.indexed import write_indexed


def dataset(prefix: Path, lengths: list[int]) -> Path:
    with write_indexed(prefix, np.uint16) as writer:
        writer.add(np.zeros(sum(lengths), np.uint16), np.array(lengths, np.int32))
    return prefix


def make_blend(*words) -> subprocess.CompletedProcess:
    return run_tool("make_blend.py", Path(), "--sequence-length", 10, *words)


@pytest.fixture
def datasets(tmp_path) -> tuple[Path, Path]:
    return dataset(tmp_path / "real", [30, 40]), dataset(tmp_path / "synthetic", [25, 30])


def test_weights_are_samples_and_add_up(datasets, tmp_path):
    real, synthetic = datasets
    target = tmp_path / "blend.txt"
    done = make_blend("--train-samples", 100, "--repeated", real, "--once", synthetic, "--output", target)
    assert done.returncode == 0, done.stderr
    assert target.read_text() == f"95 {real} 5 {synthetic}\n"  # 54 tokens after the first label: 5 sequences of 10
    make_blend("--train-samples", 100, "--repeated", real, "--once", f"{synthetic}:2", "--output", target)
    assert target.read_text().startswith("98 ")


@pytest.mark.parametrize(
    ("once", "samples", "message"),
    [
        (":6", 100, "6 are requested"),
        ("", 5, "none is left"),
        (":x", 100, "is not a number of samples"),
        (":0", 100, "gives 0 samples; leave it out"),
        (":-3", 100, "'-3' is not a number"),
        ("", 0, "must be positive, not 0"),
        ("", -5, "not -5"),
        ("", 10**20, f"{10**20:,} sequences of 10 tokens are {10**21:,} tokens; a training run has fewer than"),
    ],
)
def test_what_cannot_be_is_refused(datasets, tmp_path, once, samples, message):
    real, synthetic = datasets
    done = make_blend(
        "--train-samples", samples, "--repeated", real, "--once", f"{synthetic}{once}", "--output", tmp_path / "b"
    )
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "b").exists()


def test_a_dataset_shorter_than_a_sequence_is_refused(datasets, tmp_path):
    short = dataset(tmp_path / "short", [7])
    done = make_blend("--train-samples", 9, "--repeated", datasets[0], "--once", short, "--output", tmp_path / "b")
    assert done.returncode == 2 and "0 sequences of 10" in done.stderr


def test_an_empty_or_short_dataset_is_refused_wherever_it_stands(datasets, tmp_path):
    real, _ = datasets
    for lengths, message in (([], "0 tokens"), ([0, 0], "0 tokens"), ([10], "10 tokens")):
        bad = dataset(tmp_path / f"bad{len(lengths)}", lengths)
        words = ["--train-samples", 9, "--output", tmp_path / "b"]
        for done in (make_blend(*words, "--repeated", bad), make_blend(*words, "--repeated", real, "--once", bad)):
            assert done.returncode == 2 and message in done.stderr and str(bad) in done.stderr
            assert "Traceback" not in done.stderr
    done = make_blend(*words, "--repeated", tmp_path / "nowhere")
    assert done.returncode == 2 and "nowhere.idx: no such file" in done.stderr


def test_a_dataset_named_twice_is_refused(datasets, tmp_path):
    real, synthetic = datasets
    words = ["--train-samples", 100, "--output", tmp_path / "b", "--repeated", real]
    assert "is named twice" in make_blend(*words, "--once", synthetic, "--once", f"{synthetic}:1").stderr
    assert "is listed as repeated and as used once" in make_blend(*words, "--once", real).stderr


def test_a_prefix_with_a_space_is_refused(tmp_path):
    real = dataset(tmp_path / "my real", [30])
    done = make_blend("--train-samples", 9, "--repeated", real, "--output", tmp_path / "b")
    assert done.returncode == 2 and "white space" in done.stderr and not (tmp_path / "b").exists()


@pytest.mark.parametrize(("count", "given"), [("", 5), (":2", 2)])
def test_a_folder_with_a_colon(tmp_path, count, given):
    """What is behind the first colon was taken for a number of samples."""
    (tmp_path / "run-10:00").mkdir()
    real, synthetic = dataset(tmp_path / "real", [70]), dataset(tmp_path / "run-10:00" / "synthetic", [55])
    target = tmp_path / "blend.txt"
    words = ["--repeated", real, "--once", f"{synthetic}{count}", "--output", target]
    done = make_blend("--train-samples", 100, *words)
    assert f" {given} samples" in done.stdout, done.stderr
