#!/usr/bin/env python3
"""Speed of our training on CPU ranks beside a loop in plain torch, at equal shape and batch.

    python benchmarks/cpu_training.py [--recipe examples/people/recipe.yaml] [--rounds 3] [--steps 60]

Ours is the command that the stages start: Megatron's pretrain() with our datasets, loss, records and checks, on as many
ranks as the recipe says. The peer (plain_training.py) is one process with as many threads, and nothing but a model, an
optimizer, and random tokens. They run in turns; a round's ratio is that of the median steps, and the table has the
median round. Start-up, evaluation and checkpoints are not in it. The goal is 85 % of the plain loop.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from trainings import ROOT, Log, TrainingFailed, finish, recipe_of, start, words_of, write_data

from megatron_sbp.planning.cost import padded_vocab_size
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run


def ours(run: Run, threads: int, ranks: int, folder: Path) -> Log:
    """A training run as a stage starts it."""
    log = folder / "ours.txt"
    return finish(start(words_of(run, "baseline"), "cpu", threads, log, ranks=ranks), log, 1200)


def plain(recipe: str, vocabulary: int, steps: int, threads: int, folder: Path) -> Log:
    """The loop in plain torch."""
    program = [str(ROOT / "benchmarks" / "plain_training.py")]
    words = ["--recipe", recipe, "--vocabulary", str(vocabulary), "--steps", str(steps), "--threads", str(threads)]
    log = folder / "plain.txt"
    return finish(start(words, "cpu", threads, log, program=program), log, 1200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="examples/people/recipe.yaml", help="below the repository")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="of every training run")
    parser.add_argument("--warm-up", type=int, default=20, help="steps that do not count")
    parser.add_argument("--vocabulary", type=int, default=1100)
    options = parser.parse_args()
    if options.warm_up >= options.steps - 1:
        parser.exit(2, "error: --warm-up must be less than --steps by 2 or more\n")
    original = load_recipe(ROOT / options.recipe)
    training, launch = original.training, original.launch
    ranks, threads = launch.ranks_per_node, launch.threads_per_rank
    micro_batches = training.global_batch_size // training.micro_batch_size
    recipe = recipe_of(
        options.recipe,
        steps=options.steps,
        micro_batch=training.micro_batch_size,
        micro_batches=micro_batches,
        vocabulary=options.vocabulary,
        shape={},
        overrides=[f"launch.ranks_per_node={ranks}"],
    )
    padded = padded_vocab_size(original.model, options.vocabulary, 1)
    batch_tokens = training.global_batch_size * recipe.model.sequence_length
    load, rounds = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(recipe, folder)
        write_data(run, "baseline", 200_000, options.vocabulary)
        for number in range(options.rounds):
            one = ours(run, threads, ranks, folder).median(options.warm_up)
            other = plain(str(ROOT / options.recipe), padded, options.steps, ranks * threads, folder).median(
                options.warm_up
            )
            rounds.append((one, other, other / one))
            print(f"round {number + 1}: {1000 * one:.1f} ms, plain {1000 * other:.1f} ms", file=sys.stderr, flush=True)
    one, other, ratio = (statistics.median(values) for values in zip(*rounds, strict=True))
    model = recipe.model
    print(
        f"{model.num_layers} layers of width {model.hidden_size}, vocabulary {padded:,}, a step has "
        f"{training.global_batch_size} sequences of {model.sequence_length} tokens, fp32; {options.rounds} rounds of "
        f"{options.steps - options.warm_up} steps after {options.warm_up}; load before {load:.2f}\n"
    )
    print("| training | processes x threads | step, ms | tokens/s | of the plain loop's speed (lowest to highest) |")
    print("|---|---|---|---|---|")
    print(f"| plain torch loop | 1 x {ranks * threads} | {1000 * other:.1f} | {batch_tokens / other:,.0f} | 100 % |")
    low, high = min(entry[2] for entry in rounds), max(entry[2] for entry in rounds)
    print(
        f"| ours | {ranks} x {threads} | {1000 * one:.1f} | {batch_tokens / one:,.0f} | **{100 * ratio:.0f} %** "
        f"({100 * low:.0f} to {100 * high:.0f} %) |"
    )


if __name__ == "__main__":
    try:
        main()
    except TrainingFailed as error:
        raise SystemExit(f"error: {error}") from None
