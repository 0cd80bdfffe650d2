"""docs/exit_status.md: the statuses of its table are those of the code, and so are the messages that it shows."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_sbp.__main__ import run
from megatron_sbp.base import stop_file
from megatron_sbp.base.errors import Fault
from megatron_sbp.cli import show_verbs
from megatron_sbp.executor import retry
from megatron_sbp.stages import run_folder
from megatron_sbp.training import pretrain

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "exit_status.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE if re.match(r"\| (\d|128)", line)]
MESSAGES = [message for *_, shown in ROWS for message in re.findall("`([^`]+)`", shown) if message != "sbp run"]


def row(words: str) -> str:
    """The status whose meaning has these words."""
    [status] = [status for status, meaning, *_ in ROWS if words in meaning]
    return status


def test_statuses_are_those_of_the_code():
    assert len(ROWS) == 11 and len(MESSAGES) == 7
    assert row("saved a checkpoint and stopped") == str(pretrain.UNFINISHED)
    assert row("`RUN/stop` exists") == str(stop_file.STATUS)
    assert row("in a Slurm job that will be retried") == str(retry.RETRY)
    assert row("a rank, a worker or a library crashed") == str(retry.FAULT)


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_program(message):
    sources = "".join(file.read_text() for file in sorted((ROOT / "megatron_sbp").rglob("*.py")))
    pieces = [piece for piece in re.split(r"\.\.\.|\b[A-Z]+\b|-n\b|: ", message) if piece.strip()]
    assert pieces and all(piece.strip() in sources for piece in pieces), pieces


def _lost(*_: object) -> int:
    return len((ROOT / "gone" / "part.json").read_text())


def _crashed(*_: object) -> int:
    raise Fault("a rank was killed")


def _interrupted(*_: object) -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "within", "meaning"),
    [
        (["plan", "RECIPE"], None, "done"),
        (["verify", "RECIPE"], _crashed, "a rank, a worker or a library crashed"),
        (["verify", "RECIPE"], _lost, "a file of the run that has disappeared"),
        (["plan", "RECIPE", "nam=x"], None, "invalid input"),
        (["status", "RECIPE", "--check"], None, "a stage is not finished"),
        (["run", "RECIPE", "--until", "documents"], None, "`RUN/stop` exists"),
        (["verify", "RECIPE"], _crashed, "in a Slurm job that will be retried"),
        (["verify", "RECIPE"], _interrupted, "interrupted by SIGINT"),
    ],
)
def test_what_happens_ends_with_the_status_of_its_row(words, within, meaning, tmp_path, monkeypatch, capsys):
    recipe = str(ROOT / "tests" / "end_to_end" / "recipe.yaml")
    given = [recipe if word == "RECIPE" else word for word in words]
    monkeypatch.setattr(sys, "argv", ["sbp", *given, f"run_folder={tmp_path}/run"])
    if within is not None:
        monkeypatch.setattr(show_verbs, "verify_files", within)
    if "RUN/stop" in meaning:
        monkeypatch.setattr(run_folder.Run, "stop_file", property(lambda _: Path(__file__)))
    if "Slurm" in meaning:
        for name, value in {"SBP_FAULTS": str(tmp_path), "SLURM_JOB_ID": "7", "SBP_MAX_RETRIES": "1"}.items():
            monkeypatch.setenv(name, value)
    assert str(run()) == row(meaning), capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_is_in_its_status(number, tmp_path):
    recipe = ROOT / "tests" / "end_to_end" / "recipe.yaml"
    words = [sys.executable, "-m", "megatron_sbp", "status", "--watch", str(recipe), f"run_folder={tmp_path}/run"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(number)
        status = process.wait(timeout=60)
    assert row("ended by signal n") == "128 + n" and status in (-number, 128 + number)
