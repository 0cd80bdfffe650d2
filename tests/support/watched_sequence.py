"""Runs `sbp` in a sequence of faults: no command ends with a traceback, and no process stays after a fault."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
from support.fault_sequences import Broken, FaultSequence
from support.whole_program import environment, sbp

ENDS_WITHIN = 60.0
"""Seconds after a fault in which all processes must have ended."""


class WatchedSequence(FaultSequence):
    """A sequence of faults to FOLDER/run, the run of the recipe FOLDER/user/recipe.yaml.

    Args:
        seed: of everything that is drawn.
        folder: a new folder.
    """

    def __init__(self, seed: int, folder: Path):
        super().__init__(seed, folder)
        self.run, self.recipe = folder / "run", folder / "user" / "recipe.yaml"

    def _command(self, *words: str) -> list[str]:
        verb, *rest = words
        return sbp(verb, self.recipe, f"run_folder={self.run}", *rest)

    def _output(self) -> dict:
        return {"env": {**environment(), "SBP_CHAOS": str(self.folder)}, "stderr": subprocess.STDOUT,
                "stdout": open(self.log, "a"), "cwd": self.folder}  # fmt: skip

    def _sbp(self, *words: str) -> tuple[int, str]:
        self._say("$ sbp " + " ".join(words))
        begin = self.log.stat().st_size if self.log.exists() else 0
        status = subprocess.run(self._command(*words), **self._output(), timeout=900).returncode
        printed = self.log.read_bytes()[begin:].decode(errors="replace")
        self._say(f"status {status}")
        self._check(status)
        self._no_process_left()
        return status, printed

    def _popen(self, *words: str) -> subprocess.Popen:
        self._say("$ sbp " + " ".join(words) + " &")
        return subprocess.Popen(self._command(*words), **self._output(), start_new_session=True)

    def _check(self, status: int) -> None:
        if status not in (0, 1, 2, 3, 5, 130, *(128 + number for number in (1, 2, 9, 13, 15, 25))):
            raise Broken(f"status {status}")
        text = self.log.read_text(errors="replace")
        if "Traceback (most recent call last)" in text:
            raise Broken("a traceback:\n" + text[text.index("Traceback (most recent") :][:3000])

    def _wait_for_work(self, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + self.random.choice([0.5, 2.0, 5.0, 10.0, 20.0]) * self.random.random() + 0.3
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _tree(self, process: subprocess.Popen) -> list[psutil.Process]:
        try:
            root = psutil.Process(process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def _await_end(self, process: subprocess.Popen, tree: list[psutil.Process]) -> None:
        begun = time.monotonic()
        try:
            status = process.wait(timeout=ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Broken(f"still running {ENDS_WITHIN:.0f} s after the fault") from None
        left = psutil.wait_procs(tree, timeout=max(0.1, begun + ENDS_WITHIN - time.monotonic()))[1]
        left = [victim for victim in left if _alive(victim)]
        if left:
            raise Broken(f"processes are left: {[words_of(victim) for victim in left]}")
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self._say(f"status {status}, all gone after {time.monotonic() - begun:.1f} s")
        self._check(0 if status == -signal.SIGKILL else 128 - status if status < 0 else status)
        self._no_process_left(begun + ENDS_WITHIN - time.monotonic())

    def _no_process_left(self, patience: float = 10.0) -> None:
        """No process anywhere that belongs to this sequence."""
        deadline = time.monotonic() + patience
        while left := [process for process in psutil.process_iter() if _belongs(process, str(self.folder))]:
            if time.monotonic() > deadline:
                raise Broken(f"processes are left: {[words_of(process) for process in left]}")
            time.sleep(0.2)


def _belongs(process: psutil.Process, folder: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("SBP_CHAOS") == folder
    except psutil.Error:
        return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def words_of(process: psutil.Process) -> str:
    """Its number and command line, for messages."""
    try:
        return f"{process.pid}: {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(process.pid)
