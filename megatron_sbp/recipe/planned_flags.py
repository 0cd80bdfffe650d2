"""Megatron flags that a recipe must not set: the plan determines them.

The arms are comparable because flags that change data, model, or mathematics follow from recipe keys alone. All other
flags pass through `training.megatron` untouched (megatron_flags.py checks that Megatron knows it).
"""

from __future__ import annotations

from megatron_sbp.recipe.sections import Recipe

KEY = "training.megatron"

_BOARDS = "every training run has a directory and a name of its own, or their curves would overlap"
_LAYOUT = "it follows from the recipe's sections launch, training and tuning"
_MODEL = "the model of a recipe is a fixed kind of decoder, on which the plan and the export rely"
_DATA = "the datasets are the run's own"
_SKIPPED = "a sample that is skipped is not consumed, and every arm consumes all that is planned"
_CHECKPOINTS = "the run decides where checkpoints are and how it resumes"

RECIPE_KEYS: dict[str, str] = {
    "sbp-device": "launch.device",
    "num-layers": "model.num_layers",
    "hidden-size": "model.hidden_size",
    "ffn-hidden-size": "model.ffn_hidden_size",
    "num-attention-heads": "model.num_attention_heads",
    "num-query-groups": "model.num_query_groups",
    "group-query-attention": "model.num_query_groups",
    "kv-channels": "model.kv_channels",
    "qk-layernorm": "model.qk_layernorm",
    "untie-embeddings-and-output-weights": "model.tied_embeddings",
    "norm-epsilon": "model.norm_epsilon",
    "rotary-base": "model.rotary_base",
    "seq-length": "model.sequence_length",
    "encoder-seq-length": "model.sequence_length",
    "max-position-embeddings": "model.sequence_length",
    "init-method-std": "model.init_method_std",
    "make-vocab-size-divisible-by": "model.make_vocab_size_divisible_by",
    "tokenizer-type": "tokenizer.path",
    "tokenizer-model": "tokenizer.path",
    "vocab-file": "tokenizer.path",
    "merge-file": "tokenizer.path",
    "vocab-size": "tokenizer.vocab_size",
    "padded-vocab-size": "tokenizer.vocab_size",
    "seed": "seed",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "micro-batch-size": "training.micro_batch_size",
    "batch-size": "training.micro_batch_size",
    "global-batch-size": "training.global_batch_size",
    "rampup-batch-size": "training.global_batch_size",
    "step-batch-size-schedule": "training.global_batch_size",
    "decrease-batch-size-if-needed": "training.global_batch_size",
    "train-samples": "training.train_tokens",
    "train-iters": "training.train_tokens",
    "lr": "training.learning_rate",
    "min-lr": "training.min_learning_rate",
    "lr-decay-samples": "training.train_tokens",
    "lr-decay-iters": "training.train_tokens",
    "lr-warmup-samples": "training.warmup_fraction",
    "lr-warmup-iters": "training.warmup_fraction",
    "lr-warmup-fraction": "training.warmup_fraction",
    "warmup": "training.warmup_fraction",
    "weight-decay": "training.weight_decay",
    "adam-beta1": "training.adam_beta1",
    "adam-beta2": "training.adam_beta2",
    "adam-eps": "training.adam_eps",
    "clip-grad": "training.clip_grad",
    "eval-interval": "training.eval_interval",
    "eval-iters": "training.eval_sequences",
    "eval-global-batch-size": "training.eval_sequences",
    "eval-micro-batch-size": "training.micro_batch_size",
    "save-interval": "training.save_interval",
    "persistent-save-interval": "training.save_interval",
    "tensor-model-parallel-size": "launch.tensor_parallel",
    "pipeline-model-parallel-size": "launch.pipeline_parallel",
    "context-parallel-size": "launch.context_parallel",
    "use-distributed-optimizer": "launch.distributed_optimizer",
    "pretrained-checkpoint": "tuning.start",
    "sbp-patience": "tuning.patience",
    "tensorboard-dir": "training.tensorboard",
    "wandb-project": "training.wandb_project",
    "sbp-model-builder": "training.model_builder",
}
"""Flags determined by a recipe key, and the key."""

FIXED: dict[str, str] = {
    "swiglu": _MODEL,
    "normalization": _MODEL,
    "disable-bias-linear": _MODEL,
    "position-embedding-type": _MODEL,
    "add-qkv-bias": _MODEL,
    "squared-relu": _MODEL,
    "openai-gelu": _MODEL,
    "num-experts": _MODEL,
    "multi-latent-attention": _MODEL,
    "window-size": _MODEL,
    "window-attn-skip-freq": _MODEL,
    "use-rope-scaling": _MODEL,
    "rotary-percent": _MODEL,
    "rotary-interleaved": _MODEL,
    "rotary-seq-len-interpolation-factor": _MODEL,
    "no-position-embedding": _MODEL,
    "no-rope-freq": _MODEL,
    "encoder-num-layers": _MODEL,
    "decoder-num-layers": _MODEL,
    "no-pad-vocab-size": _MODEL,
    "disable-pad-vocab-size": _MODEL,
    "apply-layernorm-1p": _MODEL,
    "apply-residual-connection-post-layernorm": _MODEL,
    "mtp-num-layers": _MODEL,
    "attention-output-gate": _MODEL,
    "softmax-type": _MODEL,
    "quick-geglu": _MODEL,
    "use-mup": _MODEL,
    "hybrid-layer-pattern": _MODEL,
    "hybrid-override-pattern": _MODEL,
    "sbp-die-with-parent": "every rank of a run ends with the process that started it",
    "sbp-data": _DATA,
    "data-path": _DATA,
    "train-data-path": _DATA,
    "valid-data-path": _DATA,
    "test-data-path": _DATA,
    "data-args-path": _DATA,
    "per-split-data-args-path": _DATA,
    "mock-data": _DATA,
    "split": _DATA,
    "full-validation": _DATA,
    "multiple-validation-sets": _DATA,
    "phase-transition-iterations": _DATA,
    "reset-position-ids": _DATA,
    "reset-attention-mask": _DATA,
    "dataloader-inter-document-masking": _DATA,
    "eod-mask-loss": _DATA,
    "fim-data": _DATA,
    "sft": _DATA,
    "dataloader-type": _DATA,
    "iterations-to-skip": _SKIPPED,
    "result-rejected-tracker-filename": _SKIPPED,
    "sbp-save-file": _CHECKPOINTS,
    "load": _CHECKPOINTS,
    "save": _CHECKPOINTS,
    "finetune": _CHECKPOINTS,
    "ckpt-step": _CHECKPOINTS,
    "ckpt-format": _CHECKPOINTS,
    "dist-ckpt-optim-fully-reshardable": _CHECKPOINTS,
    "no-load-optim": _CHECKPOINTS,
    "no-load-rng": _CHECKPOINTS,
    "no-save-optim": _CHECKPOINTS,
    "no-save-rng": _CHECKPOINTS,
    "override-ckpt-iteration": _CHECKPOINTS,
    "exit-signal-handler": _CHECKPOINTS,
    "wandb-exp-name": _BOARDS,
    "wandb-save-dir": _BOARDS,
    "skip-train": _LAYOUT,
    "yaml-cfg": _LAYOUT,
    "use-checkpoint-args": _LAYOUT,
    "calculate-per-token-loss": "it is set for the tuning, where micro-batches hold different numbers of targets",
    "sbp-first-evaluation": "it is set for the tuning",
}
"""Flags that a recipe cannot change, and the reason."""

OVERRIDABLE = (
    "spec",  # another layer with the same shapes; the export refuses layers without a counterpart
    "attention-dropout",
    "hidden-dropout",
    "optimizer",
    "lr-decay-style",
    "log-interval",
    "log-throughput",
)
"""Flags that training/flags.py sets and `training.megatron` may replace."""


def check_planned_flags(recipe: Recipe) -> None:
    """Raises InputError for a flag in `training.megatron` that contradicts the plan; names what to use instead."""
    for flag in recipe.training.megatron:
        key = f"{KEY}.{flag}"
        name = flag.lstrip("-").partition("=")[0]
        if name != flag:
            raise recipe.error(key, f"is written without leading dashes and without a value: {name!r}")
        dashed = name.replace("_", "-")
        if dashed in RECIPE_KEYS:
            raise recipe.error(key, f"contradicts the plan: give {RECIPE_KEYS[dashed]} instead")
        if dashed in FIXED:
            raise recipe.error(key, f"cannot be given: {FIXED[dashed]}")
    _check_recomputation(recipe)


def _check_recomputation(recipe: Recipe) -> None:
    """Megatron refuses full recomputation without a choice of layers, but only when it builds the model."""
    flags = recipe.training.megatron
    if flags.get("recompute-granularity") != "full":
        return
    for flag, value in (("recompute-method", "uniform"), ("recompute-num-layers", 1)):
        if flags.get(flag) is None:
            raise recipe.error(f"{KEY}.recompute-granularity", f"full requires {flag}, too ({flag}: {value})")
    layers = str(flags["recompute-num-layers"])
    if not layers.isdecimal() or int(layers) < 1:
        raise recipe.error(f"{KEY}.recompute-num-layers", f"must be a whole number above 0, not {layers}")
