#!/usr/bin/env python3
"""How long `sbp plan` takes from start to end, for every recipe for GPUs.

    python benchmarks/plan_start.py               # ten starts per recipe
    python benchmarks/plan_start.py --starts 3

A start is a process of its own with files in the page cache; the recipes take turns. The first, which may compile
Python files, is not counted. Medians, and the slowest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=10, help="of every recipe")
    starts = parser.parse_args().starts
    recipes = sorted((ROOT / "examples").glob("sbp_*/recipe.yaml"))
    wall: dict[str, list[float]] = {recipe.parent.name: [] for recipe in recipes}
    cpu: dict[str, list[float]] = {recipe.parent.name: [] for recipe in recipes}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(starts + 1):
            for recipe in recipes:
                seconds, used = one_start(recipe, Path(folder))
                if turn:
                    wall[recipe.parent.name].append(seconds)
                    cpu[recipe.parent.name].append(used)
    print("| recipe | wall s | slowest | CPU s | slowest |\n|---|---|---|---|---|")
    for name in wall:
        figures = (median(wall[name]), max(wall[name]), median(cpu[name]), max(cpu[name]))
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in figures) + " |")


def one_start(recipe: Path, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    words = [sys.executable, "-m", "megatron_sbp", "plan", str(recipe), f"run_folder={folder / recipe.parent.name}"]
    began = time.monotonic()
    process = subprocess.Popen(
        words, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return time.monotonic() - began, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
