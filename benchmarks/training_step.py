#!/usr/bin/env python3
"""Step time of our training beside the very same Megatron flags on Megatron's own mock data.

    python benchmarks/training_step.py [--device cuda] [--rounds 4] [--steps 40]

The peer is Megatron's pretrain() with its MockGPTDataset. Ours are a blend of two document sources and packed pairs:
torchrun and the main() of megatron_sbp.training.pretrain. Both ranks are watched by the same few lines
(benchmarks/training_step_rank.py). The cases take turns, in another order each round; a step is Megatron's own "elapsed
time per iteration"; each run gives its median after --warm-up steps, and the table the medians over the rounds of a
case's ratio to the peer in its round. The peer runs twice in every round: how far it is from itself is the noise. On a
machine that others use, the CPU time of the rank is the steadier figure.

Packed pairs also pay for a mask that keeps attention inside a pair. So they run once more with that mask left out,
which is not what training does: what is left over the peer is our loader and bookkeeping, the rest is the attention.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainings import ROOT, Log, recipe_of, train, words_of, write_data

from megatron_sbp.run_folder import Run

RANK = str(ROOT / "benchmarks" / "training_step_rank.py")
PEER, AGAIN = "Megatron, mock data", "Megatron, mock data, again"


@dataclass
class Case:
    """What one line of the table runs: arguments of the rank's program, then Megatron's flags."""

    program: list[str]
    words: list[str]


@dataclass
class Result:
    """Medians of one run, in seconds."""

    step: float
    cpu: float
    wait: float

    @staticmethod
    def of(log: Log, warm_up: int) -> Result:
        """Reads the log of training_step_rank.py."""
        rows = re.findall(r"watch \(ms\): CPU ([\d.]+), waited ([\d.]+)", log.text)[warm_up:]
        cpu, wait = (statistics.median(float(value) / 1000 for value in column) for column in zip(*rows, strict=True))
        return Result(log.median(warm_up), cpu, wait)


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


def percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"


def to_peer(results: dict[str, list[Result]], name: str, column: str) -> str:
    """Median of the rounds' ratios to the peer, with the lowest and the highest."""
    pairs = zip(results[name], results[PEER], strict=True)
    ratios = [getattr(mine, column) / getattr(peer, column) for mine, peer in pairs]
    return f"**{percent(statistics.median(ratios))}** ({percent(min(ratios))} to {percent(max(ratios))})"


def table(results: dict[str, list[Result]]) -> str:
    """Medians over the rounds."""
    lines = ["| data | step, ms | to the peer | CPU of the rank, ms | to the peer | waits for data, ms |"]
    lines.append("|---|---|---|---|---|---|")
    for name, rounds in results.items():
        step, cpu, wait = (
            statistics.median(1000 * getattr(one, column) for one in rounds) for column in ("step", "cpu", "wait")
        )
        ratios = ["", ""] if name == PEER else [to_peer(results, name, column) for column in ("step", "cpu")]
        lines.append(f"| {name} | {step:,.1f} | {ratios[0]} | {cpu:,.1f} | {ratios[1]} | {wait:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--recipe", default="examples/quickstart/recipe.yaml", help="below the repository")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="replaces keys of the recipe")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm-up", type=int, default=8, help="steps of each run that do not count")
    parser.add_argument("--micro-batch", type=int, default=2, help="sequences")
    parser.add_argument("--micro-batches", type=int, default=2, help="in a step")
    parser.add_argument("--tokens", type=int, default=2_000_000, help="unique made-up tokens of each data set")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1, help="of the rank; its loaders have more")
    options = parser.parse_args()
    if options.warm_up >= options.steps:
        parser.exit(2, "error: --warm-up must be less than --steps\n")
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
        results: dict[str, list[Result]] = {name: [] for name in every}
        for number in range(options.rounds):
            shift = number * 2 % len(every)
            for name in [*every][shift:] + [*every][:shift]:
                case = every[name]
                log = train(case.words, options.device, options.threads, 1800, [RANK, *case.program])
                result = Result.of(log, options.warm_up)
                results[name].append(result)
                print(f"round {number + 1}: {name}: {result}", file=sys.stderr)
    model, training = recipe.model, recipe.training
    print(
        f"{options.device}, {options.threads} threads, {training.precision}; {model.num_layers} layers of width "
        f"{model.hidden_size}, {options.micro_batches} x {options.micro_batch} sequences of {model.sequence_length} "
        f"tokens a step, vocabulary {options.vocabulary:,}; {options.rounds} rounds of {options.steps} steps, "
        f"{options.warm_up} of them warm-up; load before {load:.2f}, after {os.getloadavg()[0]:.2f}\n"
    )
    print(table(results))


if __name__ == "__main__":
    main()
