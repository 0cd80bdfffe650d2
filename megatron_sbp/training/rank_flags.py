"""The flags of a rank: our own, and those of Megatron that depend on what is installed."""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentParser, Namespace
from argparse import _ActionsContainer as Options
from pathlib import Path

from megatron_sbp.training.megatron.model_builder import BUILDERS, DEFAULT


def flag_missing(*flags: str) -> bool:
    """Whether none of these flags is on the command line of this process."""
    return not any(word.split("=")[0] in flags for word in sys.argv)


def machine_flags(on_cpu: bool) -> list[str]:
    """Megatron flags that depend on what is installed here, unless the user gave them."""
    added: list[str] = []
    has_te = importlib.util.find_spec("transformer_engine") is not None and not on_cpu
    # Apex's extension: Megatron's output layer needs it beside Transformer Engine, too.
    has_fused_gradients = importlib.util.find_spec("fused_weight_gradient_mlp_cuda") is not None and not on_cpu
    if not has_te and flag_missing("--transformer-impl"):
        added += ["--transformer-impl", "local", "--no-persist-layer-norm"]
    if not has_te:  # whatever the layers are: its kernel is the only one that Megatron has
        added += ["--no-rope-fusion"]
    if not has_fused_gradients:
        added += ["--no-gradient-accumulation-fusion"]
    if "--async-save" in sys.argv:
        if flag_missing("--use-persistent-ckpt-worker"):  # without it Megatron saves synchronously
            added += ["--use-persistent-ckpt-worker"]
        if flag_missing("--async-strategy") and importlib.util.find_spec("nvidia_resiliency_ext") is None:
            added += ["--async-strategy", "mcore"]
    if on_cpu:
        added += ["--distributed-backend", "gloo", "--use-cpu-initialization", "--no-masked-softmax-fusion"]
        added += ["--no-bias-swiglu-fusion"]
        if flag_missing("--rerun-mode"):
            added += ["--rerun-mode", "disabled"]
        if flag_missing("--num-workers"):  # reading a sample takes microseconds, and a loader process half a second
            added += ["--num-workers", "0"]
    return added


def _add_process_options(parser: Options) -> None:
    """Options that a rank needs before Megatron, and torch, are imported."""
    parser.add_argument(
        "--sbp-device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="cpu: CPU ranks where a GPU is, too; cuda: an error where none is (default: auto, a GPU if there is one)",
    )
    parser.add_argument(
        "--sbp-die-with-parent",
        action="store_true",
        help="the rank is killed when the process that started it dies; under torchrun it always is",
    )


def process_options(words: list[str]) -> tuple[Namespace, list[str]]:
    """The options of the process among the words of its command line, and the other words, which are Megatron's.

    Raises:
        SystemExit: with 2, for an unknown device.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    _add_process_options(parser)
    return parser.parse_known_args(words)


def add_arguments(parser: ArgumentParser) -> ArgumentParser:
    """Adds our own flags to Megatron's parser."""
    group = parser.add_argument_group(title="synthetic bootstrapped pretraining")
    _add_process_options(group)  # taken by process_options() before; here for --help
    group.add_argument("--sbp-data", type=Path, required=True, help="data.json that `sbp` wrote: datasets and samples")
    group.add_argument("--sbp-patience", type=int, default=0, help="evaluations without a better loss before stopping")
    group.add_argument("--sbp-save-file", type=Path, help="a checkpoint is saved whenever this file is touched")
    group.add_argument("--sbp-first-evaluation", action="store_true", help="evaluate before the first step, too")
    group.add_argument(
        "--sbp-model-builder",
        choices=BUILDERS,
        default=DEFAULT,
        help="which of Megatron's models is built; both compute the same and share their checkpoints (default: "
        "hybrid on CPUs, gpt on GPUs, where they were not compared yet)",
    )
    group.add_argument(
        "--sbp-peak-tflops",
        type=float,
        help="TFLOP/s of one device for MFU; known for common GPUs (dense bf16)",
    )
    return parser
