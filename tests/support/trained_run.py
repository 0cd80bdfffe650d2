"""`sbp train-baseline` on a tiny real run, for tests that disturb it: its processes, its signals, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.whole_program import RECIPE, ROOT, environment, sbp

from megatron_sbp.training.metrics import read_metrics

MARK = "SBP_TEST_RUN"
"""Environment variable that every process of a training inherits; its value is the run folder."""

BOUND = 60.0
"""Seconds within which a training has ended after a fault, whatever it is."""


def processes(run: Path, of: Callable[[psutil.Process], bool] = lambda _: True) -> list[psutil.Process]:
    """All living processes that belong to a run and of which `of` holds; one may end while it is looked at."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == str(run) and process.status() != psutil.STATUS_ZOMBIE
            if ours and of(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


def loader_workers(rank: psutil.Process) -> list[psutil.Process]:
    """The DataLoader workers of a rank, by the name that torch gives their main thread."""
    return [child for child in rank.children() if child.name() == "pt_data_worker"]


def checkpoint_writers(run: Path) -> list[psutil.Process]:
    """Megatron's asynchronous checkpoint writers: what multiprocessing's fork server has forked."""
    servers = processes(run, lambda process: "multiprocessing.forkserver" in " ".join(process.cmdline()))
    return [child for server in servers for child in server.children()]


@dataclass
class End:
    """How a training ended."""

    status: int
    output: str
    seconds: float
    """From the fault to the end of the last process."""


class TrainedRun:
    """One run folder whose baseline is trained, disturbed, and trained on.

    Args:
        run: the run folder, with everything finished that the baseline reads.
        words: overrides of the recipe.
    """

    def __init__(self, run: Path, *words: str):
        self.run = run
        self.words = [f"run_folder={run}", *words]
        self.folder = run / "models" / "baseline"

    def iteration(self) -> int:
        """The last step that was written down."""
        steps = [row["iteration"] for row in read_metrics(self.folder / "metrics.jsonl") if row["kind"] == "train"]
        return max(steps, default=0)

    def start(self, *verb: str, steps: int = 8) -> Started:
        """Starts it, and waits until it has done some more steps."""
        started = Started(self, verb or ("train-baseline",))
        while not (started.began_training() and self.iteration() - started.resumed() >= steps):
            assert started.process.poll() is None, f"ended before it could be disturbed:\n{started.log()}"
            time.sleep(0.05)
        return started

    def finish(self) -> None:
        """Trains it to its end, with few checkpoints."""
        seldom = TrainedRun(self.run, *self.words[1:], "training.save_interval=100")
        Started(seldom, ("train-baseline",)).end(time.monotonic(), bound=500, status=0)
        assert (self.folder / "stopped.txt").read_text() == "end of the plan"
        assert not (self.folder / "running.json").exists()


class Started:
    """A running `sbp`."""

    def __init__(self, training: TrainedRun, verb: tuple[str, ...]):
        self.training = training
        self.file = training.run.with_name(f"{training.run.name}.out")
        name, *options = verb
        with open(self.file, "w") as output:
            self.process = subprocess.Popen(
                sbp(name, RECIPE, *training.words, *options),
                env={
                    **environment(),
                    MARK: str(training.run),
                    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._training_log = training.run / "logs" / "train-baseline" / "training.log"
        self._offset = self._training_log.stat().st_size if self._training_log.exists() else 0

    def _said(self) -> str:
        if not self._training_log.exists():
            return ""
        with open(self._training_log, errors="replace") as file:
            file.seek(self._offset)
            return file.read()

    def began_training(self) -> bool:
        return "sbp: versions" in self._said()

    def resumed(self) -> int:
        """The step that it went on from."""
        [line] = [line for line in self._said().splitlines() if line.startswith("sbp: training ")]
        return int(line.split(" step ")[1].split()[0])

    def log(self) -> str:
        """What it printed, and the end of its log."""
        return self.file.read_text(errors="replace") + "\n--- log:\n" + self._said()[-6000:]

    def ranks(self) -> list[psutil.Process]:
        """The rank processes, in order."""
        found: dict[int, psutil.Process] = {}

        def is_rank(process: psutil.Process) -> bool:
            if "megatron_sbp.training.pretrain" not in process.cmdline() or not _leads_its_group(process):
                return False
            found[int(process.environ()["RANK"])] = process
            return True

        processes(self.training.run, is_rank)
        return [found[number] for number in sorted(found)]

    def interrupt_group(self) -> None:
        """Ctrl-C: SIGINT to the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, fault: float, bound: float = BOUND, status: int | None = None) -> End:
        """Waits for the end of every process; fails when that takes more than `bound` seconds from the fault on."""
        deadline = fault + bound
        while self.process.poll() is None or processes(self.training.run):
            if time.monotonic() > deadline:
                left = processes(self.training.run)
                for process in left:
                    with contextlib.suppress(psutil.Error):
                        process.kill()
                raise AssertionError(f"still there after {bound:.0f} s: {left}\n{self.log()}")
            time.sleep(0.05)
        found = End(self.process.returncode, self.file.read_text(errors="replace"), time.monotonic() - fault)
        print(f"ended {found.seconds:.1f} s after the fault with status {found.status}:\n{found.output}")
        assert status is None or found.status == status, self.log()
        return found


def _leads_its_group(process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == process.pid
    except ProcessLookupError:
        return False
