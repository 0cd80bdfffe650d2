"""Signals that the launcher passes on: once, and a second Ctrl-C or SIGTERM ends it."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest

from megatron_sbp.training import forwarded_signals
from megatron_sbp.training.forwarded_signals import ForwardedSignals
from megatron_sbp.training.megatron.stop_signals import listened
from megatron_sbp.training.ranks import Rank, Ranks


class Recorded:
    """In place of the ranks: notes the signals that they would get."""

    def __init__(self):
        self.signals: list[int] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_any_of_them_asks_for_a_checkpoint_once(number, capsys):
    ranks = Recorded()
    with ForwardedSignals(ranks, "train-sbp") as forwarded:
        assert not forwarded.seen
        send(number)
        send(number)
        send(signal.SIGTERM)
    assert forwarded.seen and ranks.signals == [signal.SIGTERM]
    assert capsys.readouterr().err.count(f"{signal.Signals(number).name}: asking for a checkpoint") == 1


def test_a_request_is_like_a_signal(capsys):
    ranks = Recorded()
    with ForwardedSignals(ranks, "train-sbp") as forwarded:
        forwarded.request("RUN/stop exists")
        forwarded.request("RUN/stop exists")
        send(signal.SIGTERM)
    assert forwarded.seen and ranks.signals == [signal.SIGTERM]
    assert capsys.readouterr().err.count("train-sbp: RUN/stop exists: asking for a checkpoint") == 1


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in listened()}
    with ForwardedSignals(Recorded(), "x"):
        assert all(signal.getsignal(number) != former for number, former in before.items())
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)],
)
def test_a_second_one_ends_it(monkeypatch, first, second):
    ranks = Recorded()
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with pytest.raises(KeyboardInterrupt), ForwardedSignals(ranks, "train-sbp"):
        send(first)
        clock[0] += 5.0  # a terminal may deliver one Ctrl-C twice within a moment
        send(second)
    assert ranks.signals == [signal.SIGTERM]


def test_slurm_may_send_several(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no scancel
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with ForwardedSignals(Recorded(), "train-sbp", under_slurm=True):
        send(signal.SIGTERM)
        clock[0] += 5.0
        send(signal.SIGTERM)


def test_a_rank_that_hangs_is_named_with_what_ends_it(tmp_path, monkeypatch, capsys):
    """Alone it has no others that would notice: this process waited silently, whatever it was sent but two SIGINT."""
    monkeypatch.setattr(forwarded_signals, "FIRST_REMARK", 0.5)
    command = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
    rank = Rank("rank 0", command, dict(os.environ))
    began = time.monotonic()

    def tell() -> None:
        if time.monotonic() - began > 60:
            pytest.fail("it was not ended")
        if rank.tail and not forwarded.seen:
            rank.signal(signal.SIGSTOP)
            while psutil.Process(rank.process.pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.01)  # of two signals that wait, SIGTERM would come first
            send(signal.SIGTERM)
        forwarded.remind()
        told.append(capsys.readouterr().err)
        if "still running" in "".join(told):
            send(signal.SIGTERM)

    told: list[str] = []
    with (
        pytest.raises(KeyboardInterrupt),
        Ranks([rank], tmp_path / "log", ()) as group,
        ForwardedSignals(group, "train-sbp") as forwarded,
    ):
        group.wait(tell)
    said, pid = "".join(told), rank.process.pid
    assert "train-sbp: SIGTERM: asking for a checkpoint; SIGTERM again ends it at once\n" in said
    assert f"still running: rank 0 (pid {pid}, stopped); a second SIGTERM or Ctrl-C ends it at once" in said
    assert rank.process.returncode == -signal.SIGKILL and not psutil.pid_exists(pid)


def test_under_slurm_the_tasks_are_signaled_through_slurm(tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    (tmp_path / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    (tmp_path / "scancel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    ranks = Recorded()
    with ForwardedSignals(ranks, "train-sbp", under_slurm=True) as forwarded:
        forwarded.remind()  # nothing has come yet
        send(signal.SIGUSR1)
        forwarded.remind()  # too soon to ask again
        end = time.monotonic() + 30
        while not asked.exists() or not asked.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert asked.read_text() == "--signal=TERM 77\n" and ranks.signals == []


def test_a_scancel_that_does_not_end_is_ended_with_the_training(tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $$ >> {asked}\nexec sleep 300\n")
    (tmp_path / "scancel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with ForwardedSignals(Recorded(), "train-sbp", under_slurm=True) as forwarded:
        send(signal.SIGTERM)
        end = time.monotonic() + 30
        while not asked.exists() or not asked.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)
        forwarded._asked -= 60
        forwarded.remind()  # the first still tries
    [pid] = map(int, asked.read_text().split())
    end = time.monotonic() + 30  # it is killed, and the kernel takes it away
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.01)
