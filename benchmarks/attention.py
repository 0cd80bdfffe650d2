#!/usr/bin/env python3
"""Our attention (torch's scaled_dot_product_attention) beside Megatron's DotProductAttention, forward and backward.

    python benchmarks/attention.py [--device cuda] [--sequences 512 4096] [--masks causal pairs]

Both are what Megatron builds without Transformer Engine. They get the same inputs; `causal` is without a mask, since
each has its own, `pairs` with the mask of a sequence of eight packed pairs (made once, outside the clock). They
take turns in one process; times are medians over the turns after a warm-up, the ratio is the median of their ratios.
Peak memory is what a forward and backward pass needs beyond its inputs: on CUDA the allocator's peak, on a CPU how far
the resident memory of a fresh process rises above what it held just before (Linux's VmHWM, set back through
/proc/self/clear_refs; pages and threads' stacks blur it by a MiB or so). Outputs are compared before anything is timed.

Megatron's causal softmax kernel (Apex's) takes part where it is installed; the line above the table says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("Megatron", "ours")
PAIRS = 8
KERNEL = "scaled_upper_triang_masked_softmax_cuda"
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}
"""Largest difference of the two outputs, whose entries are of the order of one."""

Pass = Callable[[], Any]
"""One forward and backward pass; returns the output."""


class Bench:
    """The modules and inputs of one shape and precision.

    Args:
        device: cpu or cuda.
        options: heads, groups, channels, batch.
    """

    def __init__(self, device: str, options: argparse.Namespace):
        import torch

        from megatron_sbp.training.megatron import cpu

        if device == "cpu":
            cpu.install(device=device)
        from megatron.core import parallel_state
        from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

        self.device, self.options = device, options
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        parallel_state.initialize_model_parallel()
        model_parallel_cuda_manual_seed(1)

    def passes(self, sequence: int, precision: str, mask: str, names: tuple[str, ...] = ENGINES) -> dict[str, Pass]:
        """Forward and backward pass of the named engines over the same inputs."""
        import torch
        from megatron.core.transformer.dot_product_attention import DotProductAttention
        from megatron.core.transformer.enums import AttnMaskType
        from megatron.core.transformer.transformer_config import TransformerConfig

        from megatron_sbp.training.megatron.attention import SdpaAttention

        heads, groups, channels = self.options.heads, self.options.groups, self.options.channels
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        config = TransformerConfig(
            num_layers=1,
            hidden_size=heads * channels,
            num_attention_heads=heads,
            num_query_groups=groups,
            kv_channels=channels,
            attention_dropout=0.0,
            bf16=precision == "bf16",
            params_dtype=dtype,
            masked_softmax_fusion=mask == "causal" and has_kernel(self.device),
        )
        torch.manual_seed(0)
        inputs = [
            torch.randn(sequence, self.options.batch, n, channels, dtype=dtype, device=self.device, requires_grad=True)
            for n in (heads, groups, groups)
        ]
        gradient = torch.randn(sequence, self.options.batch, heads * channels, dtype=dtype, device=self.device)
        hidden = pairs_mask(sequence, self.device) if mask == "pairs" else None
        kinds = {"Megatron": DotProductAttention, "ours": SdpaAttention}

        def make(name: str) -> Pass:
            module = kinds[name](config, 1, AttnMaskType.causal, "self")

            def run() -> torch.Tensor:
                output = module(*inputs, hidden)
                torch.autograd.grad(output, inputs, gradient)
                return output.detach()

            return run

        return {name: make(name) for name in names}

    def seconds(self, run: Pass) -> float:
        """Wall time of one pass."""
        self._wait()
        started = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()


def pairs_mask(sequence: int, device: str) -> Any:
    """Megatron's mask (True: may not attend), bool [1, 1, S, S], of PAIRS segments of equal length."""
    import torch

    segments = torch.arange(sequence, device=device) * PAIRS // sequence
    causal = torch.ones(sequence, sequence, dtype=torch.bool, device=device).tril()
    return ~((segments[:, None] == segments[None]) & causal)[None, None]


def has_kernel(device: str) -> bool:
    """Whether Megatron's fused causal softmax can be used."""
    return device == "cuda" and importlib.util.find_spec(KERNEL) is not None


def peak_here(bench: Bench, sequence: int, precision: str, mask: str, name: str) -> int:
    """Bytes that one pass of an engine needs beyond its inputs, measured in this process."""
    import torch

    bench.passes(64, precision, mask, (name,))[name]()  # libraries' own buffers
    run = bench.passes(sequence, precision, mask, (name,))[name]
    if bench.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    run()
    return resident("VmHWM") - before


def resident(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def peak(bench: Bench, sequence: int, precision: str, mask: str, name: str) -> int:
    """The same, on a CPU in a process of its own, whose memory holds no leftovers that could be used again."""
    if bench.device == "cuda":
        return peak_here(bench, sequence, precision, mask, name)
    words = [*sys.argv, "--peak-of", json.dumps([sequence, precision, mask, name])]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Every tensor above 64 KiB is given back to the system as soon as it is freed.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return int(done.stdout.split()[-1])


def compare(bench: Bench, sequence: int, precision: str, mask: str, turns: int) -> str:
    """A row of the table."""
    import torch

    passes = bench.passes(sequence, precision, mask)
    outputs = [passes[name]().float() for name in ENGINES]  # the warm-up, too
    difference = (outputs[0] - outputs[1]).abs().max().item()
    if difference > TOLERANCE[precision]:
        raise RuntimeError(f"outputs differ by {difference} at sequence {sequence}, {precision}")
    del outputs
    rows = [[bench.seconds(passes[name]) for name in ENGINES] for _ in range(turns)]
    theirs, ours = (statistics.median(column) for column in zip(*rows, strict=True))
    ratios = [one / other for one, other in rows]
    del passes
    if bench.device == "cuda":
        torch.cuda.empty_cache()
    bytes_theirs, bytes_ours = (peak(bench, sequence, precision, mask, name) for name in ENGINES)
    cells = [
        mask, f"{sequence:,}", precision,
        f"{1000 * theirs:,.2f}", f"{1000 * ours:,.2f}",
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{bytes_theirs / 2**20:,.1f}", f"{bytes_ours / 2**20:,.1f}", f"**{bytes_theirs / bytes_ours:.1f}**",
        f"{difference:.0e}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def device_name(device: str) -> str:
    """The device for the line above the table."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sequences", type=int, nargs="+", default=(512, 4096))
    parser.add_argument("--precisions", nargs="+", choices=tuple(TOLERANCE), default=("fp32", "bf16"))
    parser.add_argument("--masks", nargs="+", choices=("causal", "pairs"), default=("causal", "pairs"))
    parser.add_argument("--heads", type=int, default=8, help="query heads (default: 8; the 3B model has 24)")
    parser.add_argument("--groups", type=int, default=2, help="key and value heads (default: 2; the 3B model has 8)")
    parser.add_argument("--channels", type=int, default=64, help="of a head (default: 64; the 3B model has 128)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--peak-of", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # about missing packages: the line above the table names them
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    bench = Bench(options.device, options)
    if options.peak_of:
        print(peak_here(bench, *options.peak_of))
        return
    import torch

    softmax = "with its fused softmax" if has_kernel(options.device) else "its softmax unfused (no Apex)"
    print(
        f"{device_name(options.device)}; batch {options.batch}, {options.heads} heads in {options.groups} groups of "
        f"{options.channels} channels; medians of {options.turns} turns; torch {torch.__version__}, Megatron "
        f"{version('megatron-core')}, {softmax}\nload before: {os.getloadavg()[0]:.2f}\n"
    )
    print(
        "| mask | tokens | | Megatron, ms | ours, ms | times faster | Megatron, MiB | ours, MiB | times less |", end=""
    )
    print(" outputs differ by |\n|---|---|---|---|---|---|---|---|---|---|")
    for mask in options.masks:
        for sequence in options.sequences:
            for precision in options.precisions:
                print(compare(bench, sequence, precision, mask, options.turns), flush=True)
    print(f"\nload after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
