"""Held-out loss: per token, per byte, with its standard error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.scoring import token_losses
from megatron_sbp.evaluation.statistics import ratio_stderr
from megatron_sbp.tokenization.indexed import IndexedTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def windows(stream: np.ndarray, end_of_document: int, sequence_length: int) -> list[np.ndarray]:
    """Cuts documents into sequences as training does, so that every token is predicted exactly once.

    The documents follow each other, end-of-document after each, and an end-of-document precedes the first one, like
    every other. A window reads `sequence_length` tokens and predicts the one after each of them; the
    next window begins with the last token predicted. Attention crosses documents, as it does in training.

    Args:
        stream: documents, each closed by end-of-document: int64 [n].
        end_of_document: its id.
        sequence_length: tokens read by one window.

    Returns:
        int64 [sequence_length + 1] each, the last one possibly shorter; n tokens are predicted in all.
    """
    whole = np.concatenate([np.array([end_of_document], np.int64), stream])
    return [whole[at : at + sequence_length + 1] for at in range(0, len(whole) - 1, sequence_length)]


def held_out_loss(
    model: PreTrainedModel,
    documents: IndexedTokens,
    *,
    end_of_document: int,
    sequence_length: int,
    text_bytes: int,
    batch_size: int,
    label: str,
) -> JsonObject:
    """The loss of a model on a held-out split.

    Args:
        model: a causal language model of transformers.
        documents: the split's tokens.
        end_of_document: id of the token that closes every document.
        sequence_length: the training context in tokens.
        text_bytes: UTF-8 bytes of the split's text.
        batch_size: sequences in one forward pass.
        label: what the progress says.

    Returns:
        `tokens` predicted (end-of-document included), `sequences`, `bytes`, `loss` (nats per token), `loss_stderr`
        (over sequences), `perplexity` (per token), `bits_per_byte`, `bits_per_byte_stderr`, and `sequence_losses` (the
        mean loss of each sequence) with `sequence_tokens`, so that arms can be compared sequence by sequence.

    Raises:
        InputError: the split is empty, or the loss is not finite.
    """
    sequences = windows(np.asarray(documents.tokens, np.int64), end_of_document, sequence_length)
    if not sequences:
        raise InputError("the split holds no tokens, so there is no held-out loss", key=label)
    sums = np.zeros(len(sequences))
    counts = np.array([len(sequence) - 1 for sequence in sequences])
    with Progress(label, int(counts.sum()), "tokens") as progress:
        for at in range(0, len(sequences), batch_size):
            batch = sequences[at : at + batch_size]
            # Only the very last sequence can be shorter; it goes alone, so that nothing is padded.
            groups = [batch] if len(batch[-1]) == len(batch[0]) else [batch[:-1], batch[-1:]]
            done = at
            for group in groups:
                losses = token_losses(model, np.stack(group)).astype(np.float64)
                sums[done : done + len(group)] = losses.sum(axis=1)
                done += len(group)
                progress.advance(losses.size)
    return summary(sums, counts, text_bytes, label)


def summary(sums: np.ndarray, counts: np.ndarray, text_bytes: int, label: str) -> JsonObject:
    """The figures of `held_out_loss` from losses summed per sequence.

    Args:
        sums: nats, float64 [sequences].
        counts: tokens predicted, int64 [sequences].
        text_bytes: UTF-8 bytes of all text.
        label: named in the error.
    """
    tokens = int(counts.sum())
    loss = float(sums.sum() / tokens)
    if not math.isfinite(loss):
        raise InputError(f"the held-out loss is {loss}: the checkpoint is broken", key=label)
    error = ratio_stderr(sums, counts)
    # Nats per token to bits per byte: all nats / (ln 2 * bytes).
    bits = tokens / (math.log(2) * text_bytes) if text_bytes else None
    return {
        "tokens": tokens,
        "sequences": len(sums),
        "bytes": text_bytes,
        "loss": loss,
        "loss_stderr": error,
        "perplexity": math.exp(loss) if loss < 700 else None,
        "bits_per_byte": None if bits is None else loss * bits,
        "bits_per_byte_stderr": None if bits is None or error is None else error * bits,
        "sequence_tokens": counts.tolist(),
        "sequence_losses": [round(float(value), 6) for value in sums / counts],
    }
