"""docs/exit_status.md: the statuses of its table are those of the code, and so are the messages that it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatron_sbp.base import stop_file
from megatron_sbp.executor import retry
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
