"""Over real text, a model that knows nothing scores chance: random weights, and word frequencies without context."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.made_up_model import tiny_qwen3

from megatron_sbp.base import files
from megatron_sbp.evaluation.choice import CHANCE, answer, build_questions, choice_summary
from megatron_sbp.tokenization.bpe import train_bpe
from megatron_sbp.tokenization.indexed import open_indexed, write_indexed
from megatron_sbp.tokenization.tokenizer import ROLES

CORPUS = Path(__file__).parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"
DOCUMENTS, DIMENSIONS = 3000, 256


def word_vectors(texts: list[str]) -> np.ndarray:
    """Hashed word counts, rare words weighted up, unit norm: enough to find documents on one topic."""
    vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
    for row, text in enumerate(texts):
        for word in set(text.lower().split()):
            vectors[row, zlib.crc32(word.encode()) % DIMENSIONS] += 1
    vectors *= np.log(len(texts) / (1 + (vectors > 0).sum(axis=0)))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Tokens of 3,000 entries of the quick start's dictionary, 600 questions on them, and the tokenizer's entries."""
    texts = [row["text"] for row, _ in zip(files.read_jsonl_zst(CORPUS), range(DOCUMENTS), strict=False)]
    tokenizer = train_bpe(texts[:1000], 1024, {role: f"<|{role}|>" for role in ROLES})
    prefix = tmp_path_factory.mktemp("real") / "test"
    with write_indexed(prefix, np.uint16) as writer:
        for ids in tokenizer.encode_batch(texts):
            writer.add(np.array([*ids, tokenizer.end_of_document]), np.array([len(ids) + 1]))
    documents = open_indexed(prefix)
    questions, counts = build_questions(
        documents, word_vectors(texts), questions=600, context=64, continuation=32, seed=1
    )
    assert len(questions) == 600
    return documents, questions, counts, tokenizer


class Unigram(torch.nn.Module):
    """The frequency of every token, whatever stands before it."""

    def __init__(self, tokens: np.ndarray, entries: int):
        super().__init__()
        counts = torch.bincount(torch.from_numpy(np.asarray(tokens, np.int64)), minlength=entries) + 1.0
        self.logits = torch.nn.Parameter(counts.log())

    def forward(self, input_ids, use_cache):
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))


def accuracy(model, real) -> tuple[float, float]:
    _, questions, counts, tokenizer = real
    credits = answer(model, questions, end_of_document=tokenizer.end_of_document, batch_size=64, label="chance")
    return choice_summary(credits, counts)["accuracy"], (CHANCE * (1 - CHANCE) / len(questions)) ** 0.5


def test_word_frequencies_score_chance(real):
    documents, _, _, tokenizer = real
    found, error = accuracy(Unigram(documents.tokens, tokenizer.vocab_size), real)
    assert abs(found - CHANCE) < 3 * error


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_random_weights_score_chance(real, seed):
    found, error = accuracy(tiny_qwen3(real[3].vocab_size, seed), real)
    assert abs(found - CHANCE) < 3 * error
