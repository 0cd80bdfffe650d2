"""`sbp run`: all stages on this machine, in order, with independent ones in parallel."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.base.progress import duration, say
from megatron_sbp.executor.permissions import Permissions
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.stage_processes import Place, StageFailed, StageProcesses
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

_POLL_SECONDS = 0.05


def run_all(
    run: Run,
    graph: list[Stage],
    recipe_words: list[str],
    *,
    until: str | None = None,
    discard: Sequence[str] = (),
    repair: Sequence[str] = (),
    jobs: int = 1,
    begins: Callable[[], None] = lambda: None,
) -> None:
    """Runs the missing work of all stages, each in processes of its own; see `StageProcesses`.

    A stage starts when those that it reads from are finished, so with one at a time they run in order. A stage may find
    that an earlier one has more to do: then that one and those between them run again. If a stage fails, running ones
    finish, and no further one starts.

    Args:
        run: the run.
        graph: all stages, in order.
        recipe_words: recipe path and overrides, as words of the command line.
        until: the last stage to run; None runs all.
        discard: stages whose costly outputs may be replaced; `all` means every stage.
        repair: stages that may continue from the intact part of damaged outputs.
        jobs: how many stages may run at a time.
        begins: called once, when the first stage starts or there is none to start, but not if the first is refused.

    Raises:
        StageFailed: a stage failed; finished work stays.
        Fault: a stage's processes succeeded, but it is not finished.
        InputError: costly work would be discarded, or is damaged, and --discard was not given; see `StageProcesses`.
        OSError: a full disk or a missing file, found between two stages.
    """
    began = time.monotonic()
    _LocalRun(run, graph, recipe_words, until=until, discard=discard, repair=repair, jobs=jobs, begins=begins).execute()
    if until is None:
        say(f"all {len(graph)} stages finished, {duration(time.monotonic() - began)} for this call")


class _LocalRun:
    """Scheduler of waiting and running stages. Arguments as for `run_all`."""

    def __init__(
        self,
        run: Run,
        graph: list[Stage],
        recipe_words: list[str],
        *,
        until: str | None,
        discard: Sequence[str],
        repair: Sequence[str],
        jobs: int,
        begins: Callable[[], None],
    ):
        self._run, self._graph, self._words, self._jobs = run, graph, recipe_words, jobs
        self._permissions, self._begins = Permissions(discard, repair), begins
        self._begun = False
        self._places = {stage.name: place for place, stage in enumerate(graph)}
        self._reads = {stage.name: frozenset(stage.reads(run)) for stage in graph}
        last = len(graph) if until is None else self._places[until] + 1
        self._waiting: list[Stage] = list(graph[:last])
        self._running: dict[int, tuple[StageProcesses, float]] = {}
        self._failure: Exception | None = None
        self._signal: int | None = None

    def execute(self) -> None:
        with self._signals_forwarded():
            try:
                while self._waiting or self._running:
                    self._start_what_can()
                    if self._over() and not self._running:
                        break
                    self._note_what_ended()
                    if self._running:
                        time.sleep(_POLL_SECONDS)
            finally:
                for processes, _ in self._running.values():
                    processes.kill()
        if self._failure is not None:
            raise self._failure
        self._begin()
        if self._signal is not None:  # what was running has finished anyway
            signal.raise_signal(self._signal)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._begins()

    def _over(self) -> bool:
        """Whether nothing more may start."""
        return self._failure is not None or self._signal is not None

    def _start_what_can(self) -> None:
        """Starts, in order, stages whose inputs no unfinished stage writes."""
        for stage in list(self._waiting):
            if len(self._running) >= self._jobs or self._over():
                return
            unfinished = {each.name for each in self._waiting} | {each.stage.name for each, _ in self._running.values()}
            if unfinished.isdisjoint(self._reads[stage.name]):
                self._waiting.remove(stage)
                try:
                    self._start(stage)
                except (Fault, InputError, OSError) as error:
                    self._fail(error)

    def _start(self, stage: Stage) -> None:
        runner = self._runner(stage)
        if runner.finished():
            runner.note_times()
            say(f"{self._label(stage)}: already complete")
            self._go_back(stage)
            return
        runner.check()
        self._begin()
        units, missing = stage.units(self._run), runner.missing_units()
        note = f", {len(missing)} of {len(units)} shards to do" if stage.sharded and len(units) > 1 else ""
        say(f"{self._label(stage)}: {stage.title}{note}")
        workers = min(self._run.recipe.launch.workers, max(1, len(missing))) if stage.sharded else 1
        words = [*self._words, *self._permissions.words(stage.name)]
        slot = next(number for number in range(self._jobs) if number not in self._running)
        processes = StageProcesses(self._run, stage, words, workers, Place(slot, self._jobs))
        self._running[slot] = processes, time.monotonic()
        if self._signal is not None:  # it arrived before these could be notified
            processes.send(self._signal)

    def _note_what_ended(self) -> None:
        for slot, (processes, started) in list(self._running.items()):
            if not processes.ended():
                continue
            del self._running[slot]
            stage = processes.stage
            try:
                processes.check()
                runner = self._runner(stage)
                if not runner.finished():
                    raise Fault(
                        f"the processes of {stage.name} ended with status 0, but it is not finished: {runner.why()}"
                    )
                say(f"{self._label(stage)}: done in {duration(time.monotonic() - started)}")
                self._go_back(stage)
            except (StageFailed, Fault, InputError, OSError) as error:
                self._fail(error)

    def _go_back(self, stage: Stage) -> None:
        """Reruns an earlier stage, and those after it up to this one, if this one requests it."""
        earlier = stage.reopens(self._run)
        if earlier is None:
            return
        waiting = {each.name for each in self._waiting}
        again = self._graph[self._places[earlier] : self._places[stage.name] + 1]
        self._waiting += [each for each in again if each.name not in waiting and each not in self._running_stages()]
        self._waiting.sort(key=lambda each: self._places[each.name])

    def _running_stages(self) -> list[Stage]:
        return [processes.stage for processes, _ in self._running.values()]

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            names = ", ".join(stage.name for stage in self._running_stages())
            if names:
                say(f"{error}; waiting for {names} to end, nothing else starts")

    def _runner(self, stage: Stage) -> StageRunner:
        allowed = self._permissions
        discard, repair = allowed.discards(stage.name), allowed.repairs(stage.name)
        return StageRunner(self._run, stage, self._graph, discard=discard, repair=repair)

    def _label(self, stage: Stage) -> str:
        return f"[{self._places[stage.name] + 1}/{len(self._graph)}] {stage.name}"

    @contextlib.contextmanager
    def _signals_forwarded(self) -> Iterator[None]:
        def forward(number: int, frame: object) -> None:
            if not self._running and self._signal is None:  # this process may be reading a corpus, for hours
                signal.signal(number, handlers[signal.Signals(number)])
                signal.raise_signal(number)
            self._signal = number
            for processes, _ in list(self._running.values()):
                processes.send(number)

        handlers = {
            number: signal.signal(number, forward)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN  # nohup
        }
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
