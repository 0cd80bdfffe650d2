"""Small stages for the tests of the stage engine, and a program that runs one of them: `stage_toys.py STAGE RUN i/n`.

words (sharded) -> lengths (sharded) -> total. The words come from a file outside the run folder, one unit per line.
A folder RUN/calls holds one line per unit of work that was really done.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage, by_name

RECIPE = """
name: toy
documents: {inputs: [words.txt], train: 10, valid: 2, test: 2}
tokenizer: {}
model: {num_layers: 2, hidden_size: 64, ffn_hidden_size: 192, num_attention_heads: 4, num_query_groups: 2,
        sequence_length: 128}
training: {train_tokens: 100_000, global_batch_size: 8, micro_batch_size: 1}
tuning: {global_batch_size: 8}
synthesis: {tokens: 30_000, max_new_tokens: 60}
"""


def call(run: Run, text: str) -> None:
    """Notes that work was done; one write, so that processes do not mix their lines."""
    path = run.root / "calls"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(text + "\n")


class Words(Stage):
    """A file per line of the source, upper case when the recipe's note says so; and a joint file of all."""

    name, title, sharded = "words", "words", True

    def external(self, run: Run) -> list[Path]:
        return [run.recipe.folder / "words.txt"]

    def settings(self, run: Run):
        return {**self.unit_settings(run), "joint": run.recipe.seed}

    def unit_settings(self, run: Run):
        return {"note": run.recipe.note}

    def units(self, run: Run) -> list[str]:
        lines = (run.recipe.folder / "words.txt").read_text().splitlines()
        return [f"{place:05d}" for place in range(len(lines))]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("words",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        call(run, f"words {unit}")
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        text = (run.recipe.folder / "words.txt").read_text().splitlines()[int(unit)]
        if text == "bad":
            raise RuntimeError("bad word")
        path, part = run.at("words") / f"{unit}.txt", run.at("words") / f"{unit}.part"
        files.write_text(path, text.upper() if run.recipe.note == "upper" else text)
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        files.write_text(part, hashlib.sha256(text.encode()).hexdigest() * 20)
        return [path, part]

    def finish(self, run: Run) -> list[Path]:
        call(run, "words finish")
        joint = run.at("words") / "joint.txt"
        parts = sorted((run.at("words")).glob("[0-9]*.part"))
        files.write_text(joint, f"{run.recipe.seed} " + "".join(part.read_text() for part in parts))
        return [joint]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.suffix == ".part"


class Lengths(Stage):
    """Length of every word: does not see a change of case."""

    name, title, sharded = "lengths", "lengths", True

    def reads(self, run: Run):
        return {"words": ("words/[0-9]*.txt",)}

    def units(self, run: Run) -> list[str]:
        return [path.stem for path in sorted((run.at("words")).glob("[0-9]*.txt"))]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("lengths",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        call(run, f"lengths {unit}")
        path = run.at("lengths") / f"{unit}.txt"
        files.write_text(path, str(len((run.at("words") / f"{unit}.txt").read_text())))
        return [path]


class Total(Stage):
    name, title = "total", "total"

    def reads(self, run: Run):
        return {"lengths": ("lengths/*",)}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("total.txt",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        call(run, "total")
        path = run.at("total.txt")
        files.write_text(path, str(sum(int(file.read_text()) for file in (run.at("lengths")).iterdir())))
        return [path]


def graph() -> list[Stage]:
    return [Words(), Lengths(), Total()]


def make_run(folder: Path, *overrides: str) -> Run:
    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        recipe.write_text(RECIPE)
    return Run.of(load_recipe(recipe, [f"run_folder={folder / 'run'}", *overrides]))


if __name__ == "__main__":
    name, folder, shard = sys.argv[1:]
    index, count = shard.split("/")
    StageRunner(make_run(Path(folder)), by_name(graph(), name), graph()).execute((int(index), int(count)))
