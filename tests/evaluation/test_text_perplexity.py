"""Losses of documents in batches, and the perplexity of all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.made_up_model import tiny_qwen3

from megatron_sbp.evaluation.text_perplexity import document_losses, perplexity


def test_losses_of_documents_are_their_own_whatever_the_batch():
    model = tiny_qwen3(50)
    random = np.random.default_rng(1)
    documents = [random.integers(2, 50, size) for size in (5, 9, 1, 0, 9)]
    roles = {"end_of_document": 0, "padding": 1, "label": "test"}
    together = document_losses(model, documents, batch_size=3, **roles)
    alone = [document_losses(model, [document], batch_size=1, **roles)[0] for document in documents]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    logits = model(torch.tensor([[0, *documents[0][:-1]]])).logits[0].log_softmax(-1)
    assert together[0] == pytest.approx(-logits[range(5), documents[0]].sum().item(), rel=1e-5)
    assert together[3] == 0


def documents_of(*lengths: int) -> list[np.ndarray]:
    return [np.zeros(length, np.int64) for length in lengths]


def test_perplexity_is_per_token_of_all_documents():
    documents, sums = documents_of(5, 9, 1, 0, 9), np.array([10.0, 9.0, 4.0, 0.0, 13.0])
    found = perplexity(sums, documents, seed=1)
    assert found["tokens"] == 24 and found["loss"] == pytest.approx(36 / 24)
    assert found["value"] == pytest.approx(math.exp(36 / 24))
    assert 1 < found["low"] < found["value"] < found["high"] < math.exp(4)
    assert found == perplexity(sums, documents, seed=1) != perplexity(sums, documents, seed=2)


def test_equal_documents_leave_no_doubt():
    found = perplexity(np.full(6, 8.0), documents_of(*[4] * 6), seed=1)
    assert (found["low"], found["value"], found["high"]) == pytest.approx((math.exp(2),) * 3)


def test_what_no_number_holds_is_none_and_its_loss_is_told():
    found = perplexity(np.array([8000.0, 8000.0]), documents_of(10, 10), seed=1)
    assert (found["value"], found["low"], found["high"]) == (None, None, None) and found["loss"] == 800


def test_no_document():
    assert perplexity(np.empty(0), [], 1) == {"value": None, "low": None, "high": None, "loss": None, "tokens": 0}
