"""Separates the settings that change a training run's result from those that only change how it is computed.

Changes of the latter do not invalidate a started or finished training run: evaluation, logging, saving, loader
processes, micro-batches, parallel layout, precision, Megatron model class. Only the last digits of sums differ.
"""

from __future__ import annotations

import re

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Recipe, settings

HOW_TRAINING = (
    "micro_batch_size",
    "precision",
    "eval_interval",
    "eval_sequences",
    "save_interval",
    "log_interval",
    "tensorboard",
    "wandb_project",
    "model_builder",
    "megatron",
)
"""Keys of the recipe's section `training` that do not change the result."""

HOW_TUNING = ("start", "start_arm", "micro_batch_size")
"""The same for the section `tuning`. Its evaluations decide when it stops, so they count; the initial checkpoint counts
by its contents."""

OF_ARMS_ONLY = ("train_tokens", "global_batch_size", "learning_rate", "min_learning_rate", "warmup_fraction")
"""Keys of `training` that the tuning of the synthesizer does not use."""

_HOW_FLAGS = re.compile(
    r"num-workers|dataloader-.*|log-.*|no-log-.*|tensorboard-.*|wandb-.*|timing-.*|one-logger-.*|enable-one-logger|"
    r"profile.*|use-pytorch-profiler|nsys-.*|record-memory-history|memory-snapshot-path|save.*|no-save-.*|async-save|"
    r"async-ckpt-.*|ckpt-.*|dist-ckpt-.*|use-persistent-ckpt-worker|non-persistent-.*|use-dist-ckpt|auto-detect-ckpt-format|"
    r"exit-.*|distributed-timeout-.*|distributed-backend|overlap-.*|no-overlap-.*|tp-comm-.*|use-distributed-optimizer|"
    r"recompute-.*|distribute-saved-activations|cpu-offloading.*|empty-unused-memory-level|manual-gc.*|check-weight-hash-.*|"
    r"nccl-.*|use-nccl-.*|sequence-parallel|tensor-model-parallel-size|pipeline-model-parallel-size|"
    r"decoder-(first|last)-pipeline-num-layers|account-for-(embedding|loss)-in-pipeline-split|"
    r"pipeline-model-parallel-layout|microbatch-group-size-per-virtual-pipeline-stage|distrib-optim-fully-.*|"
    r"context-parallel-size|num-layers-per-virtual-pipeline-stage|num-virtual-stages-per-pipeline-rank|"
    r"micro-batch-size|eval-.*|adlr-.*|inprocess-.*|ft-.*|enable-ft-package|calc-ft-timeouts|heartbeat-.*|"
    r"rerun-mode|error-injection-.*|disable-straggler-on-startup|straggler-.*|bf16|fp16|no-.*-fusion|"
    r"attention-backend|transformer-impl|use-flash-attn|cuda-graph.*|enable-cuda-graph|external-cuda-graph|"
    r"align-.*|ddp-.*|high-priority-stream-groups|use-sharp|use-ring-exchange-p2p|fine-grained-activation-offloading|"
    r"delay-wgrad-compute|config-logger-dir|logging-level|sbp-peak-tflops"
)


def changes_training(flag: str) -> bool:
    """Whether a Megatron flag (without leading dashes) may change the result; assumed for unknown flags."""
    return _HOW_FLAGS.fullmatch(flag) is None


def arm_settings(recipe: Recipe) -> JsonObject:
    """Settings of `training` that change an arm's final weights."""
    return {**settings(recipe.training, *HOW_TRAINING), "megatron": _flags(recipe)}


def tuning_settings(recipe: Recipe) -> JsonObject:
    """The same for synthesizer tuning: its own section, and the keys that it uses from `training`."""
    taken = settings(recipe.training, *HOW_TRAINING, *OF_ARMS_ONLY, "weight_decay")
    return {**taken, "megatron": _flags(recipe), "tuning": settings(recipe.tuning, *HOW_TUNING)}


def _flags(recipe: Recipe) -> JsonObject:
    return {name: value for name, value in recipe.training.megatron.items() if changes_training(name)}
