#!/usr/bin/env python3
"""How much of one GPU real training uses: three models in bf16 at 4,096 tokens, with and without Transformer Engine.

    python benchmarks/gpu_ladder.py                     # one CUDA device, meant for ten minutes
    python benchmarks/gpu_ladder.py --device cpu        # a rehearsal with tiny sizes: its figures mean nothing

First the device's own ceiling: the best rate of large square bf16 products, held for seconds, on random numbers (zeros
run faster). Then each model is trained for a few steps by the ranks that `sbp` starts (torchrun -m
megatron_sbp.training.pretrain, one rank) on made-up tokens. A step holds several micro-batches, as real steps do, so
that the optimizer's share is small; of models that do not fit, as many layers as do are trained, and the table says how
many. MFU is model FLOPs over the ceiling, and over the data sheet's peak; both FLOP formulas, ours
(megatron_sbp/planning/cost.py) and Megatron's, are compared. Peers' own figures on H100 (bf16, 4,096 tokens):
Megatron 1.7B 41 %, 7.1B 47 %; OLMo-core 1B 39-41 %, 7B 47-48 %; torchtitan 8B 33-39 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from trainings import Log, TrainingFailed, finish, recipe_of, start, words_of, write_data

from megatron_sbp.base.gpus import peak_tflops
from megatron_sbp.planning import cost
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run

VOCABULARY = 49_152
MARGIN = 0.9
"""Share of the device's memory that the estimate may fill."""


@dataclass(frozen=True)
class Rung:
    """A model of the ladder."""

    name: str
    shape: dict[str, int]
    """Keys of the recipe's `model`."""
    micro_batch: int
    """Sequences in a forward pass."""
    micro_batches: int
    """Forward passes in a step."""


RUNGS = (
    Rung("1B", {"num_layers": 16, "hidden_size": 2048, "ffn_hidden_size": 8192, "num_attention_heads": 16}, 4, 4),
    Rung("3B", {"num_layers": 26, "hidden_size": 3072, "ffn_hidden_size": 8064, "num_attention_heads": 24}, 2, 8),
    Rung("7B", {"num_layers": 32, "hidden_size": 4096, "ffn_hidden_size": 14_336, "num_attention_heads": 32}, 1, 8),
)
"""3B is the paper's shape (docs/paper.md); 1B and 7B are sizes that peers have figures for. All: 8 groups of 128."""

TINY = tuple(
    replace(rung, shape={"num_layers": 2, "hidden_size": 32 * size, "ffn_hidden_size": 64, "num_attention_heads": 4})
    for size, rung in enumerate(RUNGS, 1)
)


def ceiling(device: str, seconds: float) -> tuple[float, int]:
    """Best sustained rate of a square bf16 product in FLOP/s, and its size."""
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    best = (0.0, 0)
    for size in (4096, 8192, 16_384) if device == "cuda" else (256, 512):
        one, two = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
        out = torch.empty_like(one)
        for _ in range(3):
            torch.matmul(one, two, out=out)
        wait()
        count, started, spent = 0, time.perf_counter(), 0.0
        while spent < seconds:
            for _ in range(10):
                torch.matmul(one, two, out=out)
            wait()
            count, spent = count + 10, time.perf_counter() - started
        best = max(best, (2.0 * size**3 * count / spent, size))
        del one, two, out
    if device == "cuda":
        torch.cuda.empty_cache()
    return best


def recipe_for(rung: Rung, layers: int, steps: int, tiny: bool) -> Recipe:
    """The recipe of a rung, with that many layers."""
    shape = {"num_query_groups": 8, "kv_channels": 128, **rung.shape, "num_layers": layers}
    if tiny:
        shape |= {"num_query_groups": 2, "kv_channels": 16, "sequence_length": 128}
    vocabulary, path = 512 if tiny else VOCABULARY, "examples/sbp_3b_1t/recipe.yaml"
    return recipe_of(
        path,
        steps=steps,
        micro_batch=rung.micro_batch,
        micro_batches=rung.micro_batches,
        vocabulary=vocabulary,
        shape=shape,
    )


def estimate(recipe: Recipe, fused: bool) -> int:
    """Planned bytes of a training run of the recipe; without fused optimizer, torch's AdamW holds one copy more."""
    memory = cost.memory(recipe.model, recipe.training, recipe.launch, VOCABULARY, distributed_optimizer=True)
    return memory.total + (0 if fused else 4 * memory.parameters) + 2 * 2**30


def layers_that_fit(rung: Rung, room: int, fused: bool) -> int:
    """The most layers whose estimate fits; all of them where they do."""
    for layers in range(rung.shape["num_layers"], 1, -1):
        if estimate(recipe_for(rung, layers, 1, False), fused) <= MARGIN * room:
            return layers
    return 1


def climb(rung: Rung, layers: int, engine: str, options: argparse.Namespace, peaks: list[float | None]) -> str:
    """Trains a rung, with fewer layers if the device ran out of memory; returns its row."""
    tiny, failure = options.device == "cpu", ""
    while layers >= 1:
        recipe = recipe_for(rung, layers, options.steps, tiny)
        if engine == "torch":
            recipe.training.megatron |= {"transformer-impl": "local", "no-persist-layer-norm": True}
        with tempfile.TemporaryDirectory() as folder:
            run = Run(recipe, Path(folder))
            vocabulary = recipe.training.megatron["vocab-size"]
            write_data(run, "baseline", options.tokens, vocabulary)
            try:
                file, words = Path(folder) / "log.txt", words_of(run, "baseline")
                process = start(words, options.device, options.threads, file)
                log = finish(process, file, options.timeout)
                return row(rung, recipe, engine, log=log, warm_up=options.warm_up, peaks=peaks)
            except TrainingFailed as error:
                failure = str(error)
        if "out of memory" not in failure.lower():
            break
        print(f"{rung.name} with {layers} layers, {engine}: out of memory, 2 fewer", flush=True)
        layers -= 2
    return f"| {rung.name} | {engine} | failed: {' '.join(failure.split())[:300]} |"


def row(rung: Rung, recipe: Recipe, engine: str, *, log: Log, warm_up: int, peaks: list[float | None]) -> str:
    """A finished training run as a row of the table."""
    model, training = recipe.model, recipe.training
    vocabulary = cost.padded_vocab_size(model, training.megatron["vocab-size"])
    seconds = log.median(warm_up)
    flops = cost.training_flops(model, vocabulary, training.global_batch_size)
    # Megatron prints one decimal of its own figure; both formulas are the same when they agree within that.
    theirs = log.tflops[-1] * log.seconds[-1] * 1e12
    agreement = f"{flops / theirs:.3f}" if theirs else "n/a"
    used = [f"{100 * flops / seconds / peak:.1f} %" if peak else "n/a" for peak in peaks]
    share = f"{model.num_layers} of {rung.shape['num_layers']}"
    cells = [
        rung.name, engine, share, f"{cost.parameters(model, vocabulary).total / 1e9:.2f}",
        f"{training.global_batch_size // training.micro_batch_size} x {training.micro_batch_size}",
        f"{1000 * seconds:,.0f}", f"{training.global_batch_size * model.sequence_length / seconds:,.0f}",
        f"{flops / seconds / 1e12:,.1f}", *used,
        f"{log.peak_bytes / 2**30:.1f}", f"{min(log.seconds[warm_up:]) / seconds:.2f}", agreement,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--rungs", nargs="+", choices=[rung.name for rung in RUNGS], default=["1B", "3B", "7B"])
    parser.add_argument("--engines", nargs="+", choices=("torch", "te"), help="default: torch, and te where it is")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=3, help="steps that do not count")
    parser.add_argument("--tokens", type=int, default=4_000_000, help="unique made-up tokens")
    parser.add_argument("--peak", type=float, help="dense bf16 TFLOP/s of the data sheet")
    parser.add_argument("--ceiling-seconds", type=float, default=3.0, help="of every product")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one training run")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds after which no further training begins")
    options = parser.parse_args()
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "error: no CUDA device; --device cpu rehearses\n")
    if options.warm_up >= options.steps:
        parser.exit(2, "error: --warm-up must be less than --steps\n")
    began, tiny = time.monotonic(), options.device == "cpu"
    has_te = importlib.util.find_spec("transformer_engine") is not None
    fused = has_te or importlib.util.find_spec("amp_C") is not None
    engines = options.engines or (["torch", "te"] if has_te and not tiny else ["torch"])
    name = "CPU, a rehearsal: no figure here means anything" if tiny else torch.cuda.get_device_name()
    memory = 0 if tiny else torch.cuda.get_device_properties(0).total_memory
    sheet = options.peak or peak_tflops(name)
    rate, size = ceiling(options.device, 0.2 if tiny else options.ceiling_seconds)
    print(
        f"{name}, {memory / 2**30:.0f} GiB; torch {torch.__version__}, megatron-core {version('megatron-core')}, ",
        end="",
    )
    print(f"Transformer Engine {version('transformer_engine') if has_te else 'not installed'}")
    print(
        f"ceiling: {rate / 1e12:,.1f} TFLOP/s in bf16 products of {size:,} x {size:,}; data sheet: {sheet or 'unknown'}"
    )
    print(f"load {os.getloadavg()[0]:.2f}; medians of {options.steps - options.warm_up} steps\n")
    print(
        "| model | attention and layers | layers | parameters, 1e9 | micro-batches x sequences | step, ms | tokens/s ",
        end="",
    )
    print("| TFLOP/s | MFU, ceiling | MFU, data sheet | peak, GiB | fastest step | our FLOPs / Megatron's |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for rung in TINY if tiny else RUNGS:
        if rung.name not in options.rungs:
            continue
        for engine in engines:
            if time.monotonic() - began > options.budget:
                print(f"| {rung.name} | {engine} | left out: {options.budget:.0f} s are over |", flush=True)
                continue
            layers = rung.shape["num_layers"] if tiny else layers_that_fit(rung, memory, fused)
            peaks = [rate, sheet * 1e12 if sheet else None]
            print(climb(rung, layers, engine, options, peaks), flush=True)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
