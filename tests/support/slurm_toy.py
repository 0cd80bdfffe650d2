"""A toy graph with the real stage engine, as a program that takes the words of `sbp`:

    slurm_toy.py STAGE RECIPE [key=value ...] [--shard i/n] [--launcher srun]

squares (sharded) -> total (single) -> train (ranks under srun) -> report (single)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.executor.claim import recipe_of
from megatron_sbp.executor.job_environment import JobEnvironment
from megatron_sbp.executor.retry import status_after
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.slurm_launch import srun_words
from megatron_sbp.executor.time_limit import check_progress
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage, by_name

UNITS = 7
STEPS = 40


class Unfinished(Exception):
    pass


def crash(file: Path) -> None:
    """Raises the faults of a file, one cause per line; each try takes one."""
    if file.exists():
        cause, *others = file.read_text().splitlines()
        if others:
            file.write_text("\n".join(others))
        else:
            file.unlink()
        raise Fault(cause, progress="none")


def hold_memory(file: Path) -> None:
    """Holds as much as the file says, for long enough to be noticed by Slurm."""
    if file.exists():
        held = bytearray(int(file.read_text()) << 20)
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(6)


class Squares(Stage):
    name, title, sharded = "squares", "squares", True

    def units(self, run: Run) -> list[str]:
        return [f"{number}" for number in range(UNITS)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("squares",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        if (run.root / "fail").exists() and unit == "3":
            raise InputError("was told to fail", file=run.root / "fail")
        if unit == "3":
            hold_memory(run.root / "megabytes")
        path = run.at("squares") / f"{unit}.txt"
        files.write_text(path, str(int(unit) ** 2))
        return [path]


class Total(Stage):
    name, title = "total", "total"

    def reads(self, run: Run):
        return {"squares": ("squares/*",)}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("total.txt",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        path = run.at("total.txt")
        if (run.root / "slow").exists():
            if (run.root / "slow").read_text() == "deaf":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (run.root / "slow").write_text("began")
            time.sleep(600)
        crash(run.root / "crash-total")
        files.write_text(path, str(sum(int(file.read_text()) for file in (run.at("squares")).iterdir())))
        return [path]


class Train(Stage):
    name, title, device = "train", "train", "training"

    def reads(self, run: Run):
        return {"total": ("total.txt",)}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("ranks",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        folder = run.at("ranks")
        rank = [sys.executable, str(Path(__file__).with_name("slurm_toy_rank.py")), str(folder), str(STEPS)]
        status = subprocess.run([*srun_words(run.recipe), *rank[1:]]).returncode
        crash(run.root / "crash")
        if status == 3:
            raise Unfinished
        if status:
            raise InputError(f"the ranks ended with {status}")
        return sorted(folder.glob("*.json"))


class Report(Stage):
    name, title = "report", "report"

    def reads(self, run: Run):
        return {"train": ("ranks/*.json",)}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("report.txt",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        path = run.at("report.txt")
        files.write_text(path, f"{len(list((run.at('ranks')).glob('*.json')))} ranks, {os.environ['TOY_SETUP']}\n")
        return [path]


def graph() -> list[Stage]:
    return [Squares(), Total(), Train(), Report()]


def main(words: list[str]) -> int:
    options = {}
    while len(words) >= 2 and words[-2].startswith("--"):
        options[words[-2]] = words[-1]
        words = words[:-2]
    name, recipe, *overrides = words
    index, count = options.get("--shard", "1/1").split("/")
    run, stage = Run.of(recipe_of(recipe, overrides)), by_name(graph(), name)
    runner = StageRunner(run, stage, graph())
    try:
        check_progress(run, stage, JobEnvironment.of(os.environ))
        runner.execute((int(index), int(count)))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Unfinished:
        return 3
    except Fault as error:
        print(f"fault: {error}", file=sys.stderr)
        return status_after(error, JobEnvironment.of(os.environ))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
