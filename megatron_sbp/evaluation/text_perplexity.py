"""Loss of texts under a trained model: nats of every document by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.progress import Progress
from megatron_sbp.evaluation.confidence import ratio
from megatron_sbp.evaluation.scoring import token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def document_losses(
    model: PreTrainedModel,
    documents: Sequence[np.ndarray],
    *,
    end_of_document: int,
    padding: int,
    batch_size: int,
    label: str,
) -> np.ndarray:
    """Nats of every document after an end-of-document, its own end not counted.

    Args:
        model: a causal language model of transformers.
        documents: tokens, integers [n] each, no longer than the model's context.
        end_of_document: id of the token put in front.
        padding: id of a token that fills a batch; it is never attended to.
        batch_size: documents in one forward pass.
        label: of the progress line.

    Returns:
        float64 [documents]; 0 for an empty one.
    """
    sums = np.zeros(len(documents))
    order = sorted(
        (place for place in range(len(documents)) if len(documents[place])), key=lambda p: -len(documents[p])
    )
    with Progress(label, len(order), "documents") as progress:
        for at in range(0, len(order), batch_size):
            batch = order[at : at + batch_size]
            rows = np.full((len(batch), 1 + len(documents[batch[0]])), padding, np.int64)
            rows[:, 0] = end_of_document
            for row, place in enumerate(batch):
                rows[row, 1 : 1 + len(documents[place])] = documents[place]
            losses = token_losses(model, rows).astype(np.float64)  # causal: what follows a document changes nothing
            for row, place in enumerate(batch):
                sums[place] = losses[row, : len(documents[place])].sum()
            progress.advance(len(batch))
    return sums


def perplexity(sums: np.ndarray, documents: Sequence[np.ndarray], seed: int) -> dict[str, float | int | None]:
    """Perplexity per token with its bootstrap interval over documents: `value`, `low`, `high`, `loss`, `tokens`.

    Args:
        sums: what `document_losses` gives.
        documents: the same.
        seed: the run's seed.
    """
    lengths = np.array([len(tokens) for tokens in documents], np.float64)
    loss = ratio(sums, lengths, seed)
    found = {end: None if nats is None or nats > 700 else math.exp(nats) for end, nats in loss.items()}
    return {**found, "loss": loss["value"], "tokens": int(lengths.sum())}
