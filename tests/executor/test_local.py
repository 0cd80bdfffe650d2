"""The graph on this machine: what is missing runs, in order, in as many processes as there is work for."""

from __future__ import annotations

import errno
import re
import signal
import sys
from typing import ClassVar

import pytest
from support import stage_toys
from support.stage_toys import make_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.executor import local
from megatron_sbp.executor.local import run_all
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.stage_processes import StageFailed
from megatron_sbp.stages.stage import Stage


@pytest.fixture
def run(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\n")
    return make_run(tmp_path, "launch.workers=2")


class Here:
    """In place of processes: the stage runs in this process as soon as `started` looks at it for the n-th time."""

    looks = 1
    noted: ClassVar[list[tuple]] = []
    broken: ClassVar[dict[str, Exception]] = {}

    def __init__(self, run, stage, words, workers, place):
        self.run, self.stage, self.place, self.left = run, stage, place, self.looks
        self.noted.append((stage.name, words, workers))

    def ended(self) -> bool:
        self.left -= 1
        if not self.left:
            StageRunner(self.run, self.stage, GRAPH()).execute()
        return self.left <= 0

    def check(self) -> None:
        if self.stage.name in self.broken:
            raise self.broken[self.stage.name]

    def send(self, number) -> None:
        self.noted.append((self.stage.name, number))

    def kill(self) -> None:
        self.noted.append((self.stage.name, "killed"))


GRAPH = stage_toys.graph


@pytest.fixture
def started(run, monkeypatch):
    """Stages run in this process; what would have been started is noted."""
    monkeypatch.setattr(local, "StageProcesses", Here)
    monkeypatch.setattr(Here, "noted", [])
    monkeypatch.setattr(Here, "broken", {})
    return Here.noted


def test_missing_stages_run_in_order_and_finished_ones_do_not(run, started, capsys):
    run_all(run, stage_toys.graph(), ["recipe.yaml", "seed=1"], until="lengths")
    assert [(name, workers) for name, _, workers in started] == [("words", 2), ("lengths", 2)]
    assert started[0][1] == ["recipe.yaml", "seed=1"]
    run_all(run, stage_toys.graph(), ["recipe.yaml"])
    assert [name for name, *_ in started] == ["words", "lengths", "total"] and started[-1][2] == 1
    said = capsys.readouterr().err
    assert "[1/3] words: already complete" in said and "all 3 stages finished" in said


def test_a_run_begins_once_and_not_when_its_first_stage_is_refused(run, started, monkeypatch):
    begun: list[int] = []
    for until, runs in (("lengths", 2), (None, 3), (None, 3)):
        run_all(run, GRAPH(), ["r"], until=until, begins=lambda: begun.append(len(started)))
        assert len(started) == runs
    assert begun == [0, 2, 3]  # before the first stage, or, the third time, where there is none to start
    monkeypatch.setattr(StageRunner, "keep_seconds", -1.0)
    run.recipe.note = "upper"
    with pytest.raises(InputError, match="--discard words"):
        run_all(run, GRAPH(), ["r"], begins=lambda: begun.append(-1))
    assert begun == [0, 2, 3] and len(started) == 3


def test_no_more_workers_than_units_are_missing(run, started):
    StageRunner(run, stage_toys.graph()[0], stage_toys.graph()).execute((1, 3))
    StageRunner(run, stage_toys.graph()[0], stage_toys.graph()).execute((2, 3))
    run_all(run, stage_toys.graph(), ["r"], until="words")
    assert started[0][2] == 1


def test_permissions_reach_only_the_stages_they_name(run, started):
    run_all(run, stage_toys.graph(), ["r"], discard=["lengths"], repair=["all"])
    assert [words for _, words, _ in started] == [
        ["r", "--repair", "words"],
        ["r", "--discard", "lengths", "--repair", "lengths"],
        ["r", "--repair", "total"],
    ]


def test_processes_that_end_well_without_finishing_are_a_fault(run, monkeypatch):
    class Nothing(Here):
        def ended(self) -> bool:
            return True

    monkeypatch.setattr(local, "StageProcesses", Nothing)
    with pytest.raises(Fault, match=r"ended with status 0, but it is not finished: not started"):
        run_all(run, stage_toys.graph(), ["r"])


def test_a_failed_worker_is_named_with_its_status(run, monkeypatch):
    """The real thing: two processes of `sbp words`, a stage that the command line does not know."""
    with pytest.raises(StageFailed, match=r"words, worker [12]") as caught:
        run_all(run, stage_toys.graph(), [str(run.recipe.source), f"run_folder={run.root}"])
    assert caught.value.status == 2


class Free(Stage):
    """A stage that reads nothing."""

    def __init__(self, name: str, *reads: str):
        self.name, self.title, self._reads = name, name, reads

    def reads(self, run):
        return {name: (f"{name}.txt",) for name in self._reads}

    def owns(self, run):
        return (f"{self.name}.txt",)

    def run_unit(self, run, unit):
        files.write_text(run.at(f"{self.name}.txt"), self.name)
        return [run.at(f"{self.name}.txt")]


@pytest.fixture
def diamond(monkeypatch, started):
    """one and two read nothing, three reads both, four reads nothing."""
    graph = [Free("one"), Free("two"), Free("three", "one", "two"), Free("four")]
    monkeypatch.setattr(sys.modules[__name__], "GRAPH", lambda: graph)
    return graph


def names(started) -> list[str]:
    return [name for name, *_ in started]


@pytest.mark.parametrize(
    ("jobs", "order"), [(1, "one two three four"), (2, "one two three four"), (3, "one two four three")]
)
def test_stages_that_do_not_wait_for_one_another_run_side_by_side(run, diamond, started, monkeypatch, jobs, order):
    alive, most = [], []

    class Slow(Here):
        looks = 3

        def __init__(self, *arguments):
            super().__init__(*arguments)
            alive.append(self.place.slot)
            most.append(len(alive))
            assert len(set(alive)) == len(alive) <= self.place.slots == jobs

        def ended(self) -> bool:
            if super().ended():
                alive.remove(self.place.slot)
                return True
            return False

    monkeypatch.setattr(local, "StageProcesses", Slow)
    run_all(run, diamond, ["r"], jobs=jobs)
    assert names(started) == order.split() and max(most) == jobs


@pytest.mark.parametrize(
    "error", [StageFailed("one", 1), OSError(errno.ENOSPC, "No space left")], ids=["stage", "disk"]
)
def test_running_stages_finish_when_another_stage_fails(run, diamond, started, monkeypatch, capsys, error):
    monkeypatch.setattr(Here, "broken", {"one": error})

    class Slow(Here):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.left = 5 if self.stage.name == "two" else 1

    monkeypatch.setattr(local, "StageProcesses", Slow)
    with pytest.raises(type(error), match=re.escape(str(error))):
        run_all(run, diamond, ["r"], jobs=2)
    assert names(started) == ["one", "two"] and (run.root / "two.txt").exists()
    assert "waiting for two to end, nothing else starts" in capsys.readouterr().err
    monkeypatch.setattr(Here, "broken", {})
    run_all(run, diamond, ["r"], jobs=2)
    assert names(started)[2:] == ["three", "four"]


@pytest.mark.parametrize("looks", [1, 3])
def test_a_signal_reaches_what_runs_and_nothing_starts_after_it(run, diamond, started, monkeypatch, looks):
    """Also one that comes when what runs has just ended, or takes no notice."""
    got = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))

    class Signaled(Here):
        def ended(self) -> bool:
            if self.left == looks and self.stage.name == "two":
                signal.raise_signal(signal.SIGTERM)
            return super().ended()

    monkeypatch.setattr(Signaled, "looks", looks)
    monkeypatch.setattr(local, "StageProcesses", Signaled)
    try:
        run_all(run, diamond, ["r"])
    finally:
        signal.signal(signal.SIGTERM, former)
    assert got == [signal.SIGTERM]
    assert started == [("one", ["r"], 1), ("two", ["r"], 1), ("two", signal.SIGTERM)]


@pytest.mark.parametrize("error", [InputError("is costly"), OSError(errno.ENOSPC, "No space left")])
def test_an_error_before_a_start_waits_for_what_runs(run, diamond, started, monkeypatch, error):
    def check(self):
        if self.stage.name == "two":
            raise error

    monkeypatch.setattr(StageRunner, "check", check)
    with pytest.raises(type(error), match=re.escape(str(error))):
        run_all(run, diamond, ["r"], jobs=3)
    assert names(started) == ["one"] and (run.root / "one.txt").exists()


def test_a_signal_while_nothing_runs_counts_at_once(run, started, monkeypatch):
    """The process may be reading a large corpus for its digests."""
    went_on = []

    def finished(self) -> bool:
        signal.raise_signal(signal.SIGINT)
        went_on.append(True)
        return False

    monkeypatch.setattr(StageRunner, "finished", finished)
    with pytest.raises(KeyboardInterrupt):
        run_all(run, GRAPH(), ["r"])
    assert not went_on and not started and signal.getsignal(signal.SIGINT) is signal.default_int_handler
