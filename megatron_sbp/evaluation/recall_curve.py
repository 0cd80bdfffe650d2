"""Closed-book recall of an arm while it was trained: recall against tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.hugging_face import read_weights
from megatron_sbp.evaluation.model import model_of
from megatron_sbp.evaluation.recall import RecallQuestions
from megatron_sbp.recipe import Model


def recall_curve(
    checkpoints: Mapping[int, Path],
    *,
    model: Model,
    tokenizer: Path,
    questions: RecallQuestions,
    batch_size: int,
    device: str,
    label: str,
) -> list[JsonObject]:
    """Recall on checkpoints of one training run.

    Args:
        checkpoints: Megatron's iter_NNNNNNN folders by training tokens.
        model: the recipe's model.
        tokenizer: the run's, a folder.
        questions: asked of each.
        batch_size: sequences in one forward pass.
        device: cpu, cuda or auto.
        label: of the progress line.

    Returns:
        By ascending tokens: `tokens`, `recall`, `stderr`, and `by_documents` (recall by number of documents in D, or
        None).

    Raises:
        InputError: a damaged checkpoint.
    """
    place = torch.device(compute_device(device))
    points = []
    for tokens, checkpoint in sorted(checkpoints.items()):
        config, tensors = read_weights(checkpoint, model, tokenizer)
        found = questions.ask(model_of(config, tensors, place), batch_size, f"{label}, {tokens:,} tokens")
        parts = found["by_documents"]
        points.append(
            {
                "tokens": tokens,
                "recall": found["recall"],
                "stderr": found["stderr"],
                "by_documents": None if parts is None else {name: part["recall"] for name, part in parts.items()},
            }
        )
    return points
