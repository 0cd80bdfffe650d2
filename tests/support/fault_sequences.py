"""What seeded sequences of faults share: drawing operations, the log, and the program that runs any number of them."""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from support.usual_signals import usual_signals


class Broken(AssertionError):
    """An invariant does not hold."""


class FaultSequence:
    """One sequence of faults; its operations are methods.

    Args:
        seed: of everything that is drawn.
        folder: a new folder.
    """

    def __init__(self, seed: int, folder: Path):
        self.random = random.Random(seed)
        self.folder, self.log = folder, folder / "chaos.log"
        self.faults: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        """Longest time from a fault to the end of all processes, in seconds."""
        self.asked: list[str] = []
        """Refusals that were answered with an option."""

    def go(self, steps: int) -> None:
        """Draws and does `steps` operations, then ends undisturbed and compares."""
        raise NotImplementedError

    def clean_up(self) -> None:
        """Ends what a broken sequence left."""

    def _operate(self, operations: Mapping[str, int]) -> str:
        """Draws one of some operations by their weights, and does it; gives its name."""
        name = self.random.choice([name for name, weight in operations.items() for _ in range(weight)])
        self._say(f"-- {name}")
        self.faults[name] += 1
        getattr(self, name)()
        return name

    def _say(self, text: str) -> None:
        with open(self.log, "a") as file:
            file.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")


def parser(description: str | None, sequences: int, steps: int) -> argparse.ArgumentParser:
    """Options of a program that runs sequences, with its defaults."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--sequences", type=int, default=sequences, help=f"sequences to run (default {sequences})"
    )  # fmt: skip
    made.add_argument("--steps", type=int, default=steps, help=f"operations in a sequence (default {steps})")
    made.add_argument("--seed", type=int, default=1, help="seed of the first sequence; the next has the next number")
    made.add_argument("--folder", type=Path, required=True, help="folder for the runs; failed sequences stay there")
    return made


def run_sequences(options: argparse.Namespace, make: Callable[[int, Path], FaultSequence]) -> int:
    """Runs them, prints a line for each and the totals; returns the exit status. SIGINT ends it after those done.

    Args:
        options: of `parser`.
        make: a sequence from its seed and its folder, which does not exist yet.
    """
    usual_signals()
    failed, faults, slowest, begun, done = [], collections.Counter(), 0.0, time.monotonic(), 0
    for seed in range(options.seed, options.seed + options.sequences):
        folder = options.folder / f"{seed:06d}"
        shutil.rmtree(folder, ignore_errors=True)
        sequence, started = make(seed, folder), time.monotonic()
        try:
            sequence.go(options.steps)
            said = "good" + (f"; asked: {sequence.asked}" if sequence.asked else "")
            shutil.rmtree(folder)
        except (Broken, subprocess.TimeoutExpired) as error:
            failed.append(seed)
            said = f"BROKEN: {error}; {sequence.log}"
            sequence.clean_up()
        except KeyboardInterrupt:
            sequence.clean_up()
            break
        done += 1
        faults += sequence.faults
        slowest = max(slowest, sequence.slowest)
        print(f"sequence {seed}: {time.monotonic() - started:.0f} s, {dict(sequence.faults)}: {said}", flush=True)
    print(
        f"{done} sequences, {sum(faults.values())} operations {dict(faults)}, "
        f"{time.monotonic() - begun:.0f} s; longest time from a fault to the end of all processes: {slowest:.1f} s; "
        f"{len(failed)} broken{': ' + ', '.join(map(str, failed)) if failed else ''}"
    )
    return 1 if failed else 0
