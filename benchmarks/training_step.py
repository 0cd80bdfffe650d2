#!/usr/bin/env python3
"""Step time of our training beside the very same Megatron flags on Megatron's own mock data.

    python benchmarks/training_step.py [--device cuda] [--steps 120]

The peer is Megatron's pretrain() with its MockGPTDataset. Ours are a blend of two document sources and packed pairs:
torchrun and the main() of megatron_sbp.training.pretrain. All of these trainings are alive at the same time and stand
at the same gate (benchmarks/training_step_rank.py): one after the other, in a new order every round, each is let
through for one step, from gate to gate, while the others wait. So what the machine does meanwhile hits all alike, and
a case's ratio to the peer is the median of the ratios of all rounds. The peer takes part twice: how far it is from
itself is the noise. The interval is that of the median, 95 of 100 by the bootstrap.

Packed pairs also pay for a mask that keeps attention inside a pair. So they run once more with that mask left out,
which is not what training does: what is left over the peer is our loader and bookkeeping, the rest is the attention.
A training that waits at the gate lets its loaders run ahead, as they do anyway where a step takes longer than its data:
the last column is how long a step waited for them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from trainings import ROOT, TrainingFailed, finish, recipe_of, start, stop, words_of, write_data

from megatron_sbp.run_folder import Run

RANK = str(ROOT / "benchmarks" / "training_step_rank.py")
PEER, AGAIN = "Megatron, mock data", "Megatron, mock data, again"

Seconds = dict[str, list[list[float]]]
"""By case, for every round: seconds of the iteration, CPU seconds of the rank, seconds of waiting for data."""


@dataclass
class Case:
    """What one line of the table runs: arguments of the rank's program, then Megatron's flags."""

    program: list[str]
    words: list[str]


def cases(run: Run) -> dict[str, Case]:
    """All that take turns, by name."""
    documents, pairs = words_of(run, "sbp"), words_of(run, "synthesizer")
    place = documents.index("--sbp-data")
    peer = Case(["mock"], ["--mock-data", *documents[:place], *documents[place + 2 :]])
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
            processes[name] = start(case.words, options.device, options.threads, logs[name], program)
        gates = {}
        while len(gates) < len(every):
            try:
                connection = listener.accept()[0].makefile("rw")
                gates[connection.readline().strip()] = connection
            except TimeoutError:
                for name, process in processes.items():
                    if process.poll() is not None:
                        raise TrainingFailed(logs[name].read_text()[-3000:]) from None
        for connection in gates.values():
            connection.readline()  # all stand at their first step
        return take_turns(gates, options.steps)
    finally:
        listener.close()
        for name, process in processes.items():
            if sys.exc_info()[0]:
                stop(process)
            else:
                finish(process, logs[name], 120)


def take_turns(gates: dict, steps: int) -> Seconds:
    """One step of each in every round; nobody reports after the last."""
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


def to_peer(mine: np.ndarray, peer: np.ndarray) -> str:
    """Median of the rounds' ratios, with the interval that the bootstrap gives it."""
    ratios = mine / peer
    drawn = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return f"**{percent(statistics.median(ratios))}** ({percent(low)} to {percent(high)})"


def table(seconds: Seconds, warm_up: int) -> str:
    """Medians over the rounds."""
    lines = ["| data | step, ms | to the peer | CPU of the rank, ms | to the peer | waits for data, ms |"]
    lines.append("|---|---|---|---|---|---|")
    columns = {name: np.array(rows[warm_up:]).T for name, rows in seconds.items()}
    for name, column in columns.items():
        step, cpu, wait = (1000 * statistics.median(values) for values in column)
        ratios = ["", ""] if name == PEER else [to_peer(column[i], columns[PEER][i]) for i in (0, 1)]
        lines.append(f"| {name} | {step:,.1f} | {ratios[0]} | {cpu:,.1f} | {ratios[1]} | {wait:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--recipe", default="examples/quickstart/recipe.yaml", help="below the repository")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="replaces keys of the recipe")
    parser.add_argument("--steps", type=int, default=120)
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
        options.recipe, options.steps, options.micro_batch, options.micro_batches, options.vocabulary,
        {}, options.set,
    )  # fmt: skip
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, Path(folder))
        for training in ("sbp", "synthesizer"):
            write_data(run, training, options.tokens, options.vocabulary)
        every = cases(run)
        seconds = measure(every, Path(folder), options)
    seconds = {name: seconds[name] for name in every}
    model, training = recipe.model, recipe.training
    print(
        f"{options.device}, threads of a rank: {options.threads}, {training.precision}; "
        f"{model.num_layers} layers of width {model.hidden_size}, vocabulary {options.vocabulary:,}; a step has "
        f"{options.micro_batches} x {options.micro_batch} sequences of {model.sequence_length} tokens; "
        f"{options.steps - 1 - options.warm_up} rounds after {options.warm_up} of warm-up; "
        f"load before {load:.2f}, after {os.getloadavg()[0]:.2f}\n"
    )
    print(table(seconds, options.warm_up))


if __name__ == "__main__":
    main()
