"""The figures of one arm: held-out loss, continuation choice, closed-book recall."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.base.shard_names import numbered_shards
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.choice import answer, build_questions, choice_summary
from megatron_sbp.evaluation.model import device_name, load_model
from megatron_sbp.evaluation.perplexity import held_out_loss
from megatron_sbp.evaluation.recall import RecallQuestions
from megatron_sbp.recipe import Evaluation
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class HeldOut:
    """What arms are measured on.

    Attributes:
        tokens: prefix of the IndexedDataset of the splits `valid` and `test`.
        text_bytes: UTF-8 bytes of the text of these splits.
        embeddings: folder with the test documents' NNNNN.npy.
    """

    tokens: Mapping[str, Path]
    text_bytes: Mapping[str, int]
    embeddings: Path


def evaluate_arm(
    arm: str,
    *,
    checkpoint: Path,
    tokenizer: Path,
    held_out: HeldOut,
    evaluation: Evaluation,
    sequence_length: int,
    seed: int,
    device: str,
    questions: RecallQuestions | None = None,
) -> JsonObject:
    """Measures one arm.

    Args:
        arm: its name, for the result and the progress.
        checkpoint: folder of its Hugging Face checkpoint.
        tokenizer: folder of the tokenizer.
        held_out: what it is measured on.
        evaluation: settings.
        sequence_length: the training context in tokens.
        seed: the run's seed.
        device: cpu, cuda or auto.
        questions: asked closed book; None asks nothing.

    Returns:
        `valid` and `test` as in `perplexity.held_out_loss`, `choice` as in `choice.choice_summary`, `recall` as in
        `recall.recall_summary` (None without questions).

    Raises:
        InputError: missing or damaged tokens, embeddings that do not fit the test documents, a checkpoint that does not
            load or has too few tokens.
    """
    text = load_tokenizer(tokenizer)
    place = torch.device(compute_device(device))
    model = load_model(checkpoint, place)
    _check_vocabulary(model, text, checkpoint)
    result: JsonObject = {"arm": arm, "engine": "transformers", "precision": "fp32", "device": device_name(place)}
    for split in ("valid", "test"):
        result[split] = held_out_loss(
            model,
            open_indexed(held_out.tokens[split]),
            end_of_document=text.end_of_document,
            sequence_length=sequence_length,
            text_bytes=held_out.text_bytes[split],
            batch_size=evaluation.batch_size,
            label=f"{arm}: {split} loss",
        )
    test = open_indexed(held_out.tokens["test"])
    continuations, counts = build_questions(
        test,
        _vectors(held_out.embeddings, len(test)),
        questions=evaluation.choice_questions,
        context=evaluation.choice_context,
        continuation=evaluation.choice_continuation,
        seed=seed,
    )
    credits = answer(
        model,
        continuations,
        end_of_document=text.end_of_document,
        batch_size=evaluation.batch_size,
        label=f"{arm}: continuations",
    )
    result["choice"] = choice_summary(credits, counts)
    result["recall"] = None if questions is None else questions.ask(model, evaluation.batch_size, f"{arm}: recall")
    return result


def _check_vocabulary(model: PreTrainedModel, tokenizer: TextTokenizer, checkpoint: Path) -> None:
    entries = model.get_input_embeddings().num_embeddings
    if entries < tokenizer.vocab_size:
        raise InputError(f"knows {entries} tokens, the tokenizer has {tokenizer.vocab_size}", file=checkpoint / CONFIG)


def _vectors(folder: Path, documents: int) -> np.ndarray:
    """Embeddings of all test documents: float16 [documents, dim]."""
    shards = numbered_shards(folder, ".npy")
    vectors = np.concatenate([np.load(shard) for shard in shards]) if shards else np.empty((0, 1), np.float16)
    if len(vectors) != documents:
        raise InputError(f"{len(vectors)} embeddings for {documents} test documents", file=folder)
    return vectors
