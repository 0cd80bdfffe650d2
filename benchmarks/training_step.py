#!/usr/bin/env python3
"""Step time of our training beside the very same Megatron flags on Megatron's own mock data.

    python benchmarks/training_step.py [--device cuda] [--starts 4] [--steps 50]

The peer is Megatron's pretrain() with its MockGPTDataset. Ours are a blend of two document sources and packed pairs:
torchrun and the main() of megatron_sbp.training.pretrain. All of these runs are alive at the same time and wait at
the same gate (benchmarks/training_step_rank.py): one after the other, in a new order every round, each is let through
for one step, from gate to gate, while the others wait. So other work on the machine affects all alike. Two processes
of the same program still differ, by the placement of their memory, for as long as they live; so everything is
started several times. The peer takes part twice, and a step's ratio is that to the mean of both in its round; the table
has the mean over the starts of the median over the rounds, and the lowest and highest start. How far the two peers are
from their own mean is the noise.

Packed pairs also pay for a mask that keeps attention inside a pair. So they run once more with that mask left out,
which is not what training does: what is left over the peer is our loader and bookkeeping, the rest is the attention.
A training run that waits at the gate lets its loaders run ahead, as they do anyway where a step takes longer than its
data: the last column is how long a step waited for them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from trainings import ROOT, TrainingFailed, finish, recipe_of, start, stop, words_of, write_data

from megatron_sbp.stages.run_folder import Run

RANK = str(ROOT / "benchmarks" / "training_step_rank.py")
PEER, AGAIN = "Megatron, mock data", "Megatron, mock data, again"

Seconds = dict[str, list[list[float]]]
"""By case, for every round of one start: seconds of the iteration, CPU seconds, seconds of waiting for data."""


@dataclass
class Case:
    """What one line of the table runs: arguments of the rank's program, then Megatron's flags."""

    program: list[str]
    words: list[str]


def cases(run: Run) -> dict[str, Case]:
    """All that take turns, by name."""
    documents, pairs = words_of(run, "sbp"), words_of(run, "synthesizer")
    ours = [place for place, word in enumerate(documents) if word.startswith("--sbp-")]  # each with one value
    theirs = [word for place, word in enumerate(documents) if place not in ours and place - 1 not in ours]
    peer = Case(["mock"], ["--mock-data", *theirs])
    return {
        PEER: peer,
        "documents, a blend of two": Case(["sbp"], documents),
        "packed pairs": Case(["sbp"], pairs),
        "packed pairs, mask left out": Case(["sbp", "--sdpa-without-mask"], pairs),
        AGAIN: peer,
    }


def measure(every: dict[str, Case], folder: Path, options: argparse.Namespace) -> Seconds:
    """Starts all cases and lets them take turns until their end."""
    listener = socket.socket(socket.AF_UNIX)
    gate = folder / "gate"
    listener.bind(str(gate))
    listener.listen(len(every))
    listener.settimeout(5)
    logs = {name: folder / f"{place}.txt" for place, name in enumerate(every)}
    processes = {}
    try:
        for name, case in every.items():
            program = [RANK, str(gate), name, *case.program]
            words = [*case.words, "--sbp-device", options.device]
            processes[name] = start(words, options.device, options.threads, logs[name], program=program)
        gates: dict[str, Any] = {}
        while len(gates) < len(every):
            try:
                connection = listener.accept()[0].makefile("rw")
                gates[connection.readline().strip()] = connection
            except TimeoutError:
                for name, process in processes.items():
                    if process.poll() is not None:
                        raise TrainingFailed(logs[name].read_text()[-3000:]) from None
        for connection in gates.values():
            connection.readline()  # all wait at their first step
        return take_turns(gates, options.steps)
    finally:
        listener.close()
        for name, process in processes.items():
            if sys.exc_info()[0]:
                stop(process)
            else:
                finish(process, logs[name], 120)


def take_turns(gates: dict[str, TextIO], steps: int) -> Seconds:
    """One step of each in every round; there are no reports after the last."""
    seconds: Seconds = {name: [] for name in gates}
    order = random.Random(1)
    for step in range(steps):
        for name in order.sample(list(gates), len(gates)):
            gates[name].write("go\n")
            gates[name].flush()
            line = gates[name].readline()
            if line:
                seconds[name].append(json.loads(line))
            elif step < steps - 1:
                raise TrainingFailed(f"{name} ended before its last step")
    return seconds


def percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def table(starts: list[Seconds], warm_up: int) -> str:
    """Means over the starts of the medians over the rounds."""
    lines = ["| data | step, ms | to the peer | CPU of the rank, ms | to the peer | waits for data, ms |"]
    lines.append("|---|---|---|---|---|---|")
    # [start, round, column] by case
    arrays = {name: np.array([seconds[name][warm_up:] for seconds in starts]) for name in starts[0]}
    peer = (arrays[PEER] + arrays[AGAIN]) / 2
    for name, array in arrays.items():
        step, cpu, wait = 1000 * np.median(array, axis=1).mean(axis=0)
        cells = []
        for column in (0, 1):
            ratios = np.median(array[..., column] / peer[..., column], axis=1)
            cells.append(f"**{percent(ratios.mean())}** ({percent(ratios.min())} to {percent(ratios.max())})")
        lines.append(f"| {name} | {step:,.1f} | {cells[0]} | {cpu:,.1f} | {cells[1]} | {wait:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--recipe", default="examples/quickstart/recipe.yaml", help="below the repository")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="replaces keys of the recipe")
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50, help="of every start")
    parser.add_argument("--warm-up", type=int, default=10, help="steps that do not count")
    parser.add_argument("--micro-batch", type=int, default=2, help="sequences")
    parser.add_argument("--micro-batches", type=int, default=2, help="in a step")
    parser.add_argument("--tokens", type=int, default=2_000_000, help="unique made-up tokens of each data set")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1, help="of the rank; its loaders have more")
    options = parser.parse_args()
    if options.warm_up >= options.steps - 1:
        parser.exit(2, "error: --warm-up must be less than --steps by 2 or more\n")
    recipe = recipe_of(
        options.recipe,
        steps=options.steps,
        micro_batch=options.micro_batch,
        micro_batches=options.micro_batches,
        vocabulary=options.vocabulary,
        shape={},
        overrides=options.set,
    )
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, Path(folder))
        for training in ("sbp", "synthesizer"):
            write_data(run, training, options.tokens, options.vocabulary)
        every, starts = cases(run), []
        for number in range(options.starts):
            place = Path(folder) / f"start{number}"
            place.mkdir()
            seconds = measure(every, place, options)
            starts.append({name: seconds[name] for name in every})
            print(f"start {number + 1}:\n{table(starts[-1:], options.warm_up)}", file=sys.stderr, flush=True)
    model, precision = recipe.model, recipe.training.precision
    print(
        f"{options.device}, threads of a rank: {options.threads}, {precision}; "
        f"{model.num_layers} layers of width {model.hidden_size}, vocabulary {options.vocabulary:,}; a step has "
        f"{options.micro_batches} x {options.micro_batch} sequences of {model.sequence_length} tokens; "
        f"{options.starts} starts of {options.steps - 1 - options.warm_up} rounds after {options.warm_up} of warm-up; "
        f"load before {load:.2f}, after {os.getloadavg()[0]:.2f}\n"
    )
    print(table(starts, options.warm_up))


if __name__ == "__main__":
    main()
