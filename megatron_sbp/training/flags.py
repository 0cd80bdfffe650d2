"""The Megatron command line of every training run, computed without side effects for `sbp plan`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.model_folder import DATA
from megatron_sbp.planning import ledger
from megatron_sbp.planning.recall_points import recall_iterations, save_interval
from megatron_sbp.recipe import Recipe, Training, Tuning
from megatron_sbp.recipe.tuning_start import keeps_best, start_word

Flags = JsonObject
"""Megatron flags by name without leading dashes; True for a flag without a value, None or False to omit it."""


def megatron_arguments(
    recipe: Recipe,
    training: str,
    *,
    folder: Path,
    tokenizer: Path,
    start: Path | None = None,
    samples: int | None = None,
    save_file: Path | None = None,
) -> list[str]:
    """Words after `python -m megatron_sbp.training.pretrain`.

    Args:
        recipe: the recipe.
        training: baseline, synthesizer, sbp or oracle.
        folder: the training run's folder, with data.json; checkpoints are saved to and loaded from it.
        tokenizer: the tokenizer's folder.
        start: folder of the synthesizer's initial checkpoint; None for new weights.
        samples: training sequences of the synthesizer, once its pairs are packed; until then, the command shows
            PACKED_SEQUENCES instead.
        save_file: a checkpoint is saved whenever it is touched.
    """
    if training == "synthesizer":
        special = {**_tuning(recipe, samples), "pretrained-checkpoint": start}
        if start_word(recipe) == "scratch":
            special["seed"] = synthesizer_seed(recipe.seed)
    else:
        special = _arm(recipe)
        special["save-interval"] = save_interval(recipe, training)
    common = {**_model(recipe, tokenizer), **_launch(recipe), **_files(recipe, folder)}
    flags = {**common, **special, **recipe.training.megatron}
    if training == "synthesizer" or keeps_best(recipe, training) or recall_iterations(recipe, training):
        flags["save-retain-interval"] = None  # Megatron would remove checkpoints that are needed at the end
    words = ["--sbp-data", str(folder / DATA)]
    if save_file is not None:
        words += ["--sbp-save-file", str(save_file)]
    for name, value in flags.items():
        if value is None or value is False:
            continue
        words.append(f"--{name}")
        if value is not True:
            words += [str(part) for part in value] if isinstance(value, list | tuple) else [str(value)]
    return words


def _model(recipe: Recipe, tokenizer: Path) -> Flags:
    model = recipe.model
    return {
        "spec": ["megatron_sbp.training.megatron.layer_spec", "layer_spec"],
        "num-layers": model.num_layers,
        "hidden-size": model.hidden_size,
        "ffn-hidden-size": model.ffn_hidden_size,
        "num-attention-heads": model.num_attention_heads,
        "group-query-attention": True,
        "num-query-groups": model.num_query_groups,
        "kv-channels": model.head_size,
        "qk-layernorm": model.qk_layernorm,
        "untie-embeddings-and-output-weights": not model.tied_embeddings,
        "swiglu": True,
        "normalization": "RMSNorm",
        "norm-epsilon": model.norm_epsilon,
        "disable-bias-linear": True,
        "position-embedding-type": "rope",
        "rotary-base": int(model.rotary_base),
        "max-position-embeddings": model.sequence_length,
        "init-method-std": model.init_method_std,
        # Megatron multiplies this by the tensor-parallel size. Padded entries take part in the softmax, so the padded
        # vocabulary must not depend on the layout.
        "make-vocab-size-divisible-by": max(1, model.make_vocab_size_divisible_by // recipe.launch.tensor_parallel),
        "attention-dropout": 0,
        "hidden-dropout": 0,
        "tokenizer-type": "HuggingFaceTokenizer",
        "tokenizer-model": tokenizer,
        "bf16": recipe.training.precision == "bf16",
        "seed": recipe.seed,
    }


def _launch(recipe: Recipe) -> Flags:
    launch = recipe.launch
    return {
        "tensor-model-parallel-size": launch.tensor_parallel,
        "pipeline-model-parallel-size": launch.pipeline_parallel,
        "context-parallel-size": launch.context_parallel if launch.context_parallel > 1 else None,
        "use-distributed-optimizer": launch.distributed_optimizer,
    }


def _files(recipe: Recipe, folder: Path) -> Flags:
    return {
        "load": folder,
        "save": folder,
        "ckpt-format": "torch_dist",
        "dist-ckpt-optim-fully-reshardable": recipe.launch.distributed_optimizer,
        "exit-signal-handler": True,
        "log-interval": recipe.training.log_interval,
        "log-throughput": True,
        "sbp-model-builder": recipe.training.model_builder,
        **_boards(recipe, folder),
    }


def _boards(recipe: Recipe, folder: Path) -> Flags:
    """A separate directory and run for every training run, since curves of several in one place would overlap."""
    flags: Flags = {"tensorboard-dir": folder / "tensorboard" if recipe.training.tensorboard else None}
    if recipe.training.wandb_project is not None:
        flags["wandb-project"] = recipe.training.wandb_project
        flags["wandb-exp-name"] = f"{recipe.name}/{training_name(folder)}"
        flags["wandb-save-dir"] = folder / "wandb"
    return flags


def training_name(folder: Path) -> str:
    """Unique name of a training run within its run folder: `sbp`, `2/sbp` (replicate), `2/random/synthesizer`.

    Args:
        folder: the training run's folder.
    """
    names, scopes = [folder.name], folder.parts[:-2]  # .../models/NAME
    while len(scopes) >= 2 and scopes[-2] in ("synthesizers", "replicates"):
        names.insert(0, scopes[-1])
        scopes = scopes[:-2]
    return "/".join(names)


def _arm(recipe: Recipe) -> Flags:
    training = recipe.training
    samples = ledger.train_samples(recipe)
    return {
        "seq-length": recipe.model.sequence_length,
        "micro-batch-size": training.micro_batch_size,
        "global-batch-size": training.global_batch_size,
        "train-samples": samples,
        "lr": training.learning_rate,
        "min-lr": training.min_learning_rate,
        "lr-decay-style": "cosine",
        "lr-decay-samples": samples,
        "lr-warmup-samples": int(training.warmup_fraction * samples),
        **_optimizer(recipe, training.weight_decay),
        "eval-interval": training.eval_interval,
        "eval-iters": evaluation_batches(training),
    }


def _tuning(recipe: Recipe, samples: int | None) -> Flags:
    tuning = recipe.tuning
    return {
        "seq-length": recipe.tuning_sequence_length,
        # Several pairs can take more than the model's context; positions are relative inside each of them.
        "max-position-embeddings": max(recipe.tuning_sequence_length, recipe.model.sequence_length),
        "micro-batch-size": tuning.micro_batch_size,
        "global-batch-size": tuning.global_batch_size,
        "train-samples": "PACKED_SEQUENCES" if samples is None else samples,
        "lr": tuning.learning_rate,
        **_schedule(recipe, samples),
        "lr-warmup-samples": int(tuning.warmup_fraction * samples) if samples else 0,
        **_optimizer(recipe, tuning.weight_decay),
        # Micro-batches have different numbers of target tokens; each of these tokens must have the same weight.
        "calculate-per-token-loss": True,
        "eval-interval": tuning.eval_interval,
        "eval-iters": evaluation_batches(tuning),
        "save-interval": tuning.eval_interval,
        "sbp-patience": tuning.patience,
        "sbp-first-evaluation": True,
    }


def _schedule(recipe: Recipe, samples: int | None) -> Flags:
    lowest = recipe.tuning.min_learning_rate
    if lowest is None:
        return {"lr-decay-style": "constant"}
    planned = "PACKED_SEQUENCES" if samples is None else samples
    return {"min-lr": lowest, "lr-decay-style": "cosine", "lr-decay-samples": planned}


def synthesizer_seed(seed: int) -> int:
    """Seed of a synthesizer's new weights, which differ from the arms' initial weights."""
    return int.from_bytes(hashlib.blake2b(b"synthesizer %d" % seed, digest_size=4).digest()) >> 1


def _optimizer(recipe: Recipe, weight_decay: float) -> Flags:
    training = recipe.training
    return {
        "optimizer": "adam",
        "weight-decay": weight_decay,
        "adam-beta1": training.adam_beta1,
        "adam-beta2": training.adam_beta2,
        "adam-eps": training.adam_eps,
        "clip-grad": training.clip_grad,
    }


def evaluation_batches(section: Training | Tuning) -> int:
    """Global batches per evaluation."""
    return -(-section.eval_sequences // section.global_batch_size)
