"""Losses of tokens under a model whose probabilities are written down: the next token follows from the last alone."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from megatron_sbp.base.errors import InputError
from megatron_sbp.evaluation import scoring
from megatron_sbp.evaluation.scoring import token_losses

CHANCES = np.array([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.125, 0.375, 0.5]])


class Bigrams(torch.nn.Module):
    """A causal language model: logits of the next token, one row of a table per token."""

    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        logits = torch.from_numpy(np.log(CHANCES) + 3).to(dtype)  # a constant changes no probability
        self.table = torch.nn.Embedding.from_pretrained(logits, freeze=False)
        self.read: list[tuple[int, ...]] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool):
        assert not use_cache
        self.read.append(tuple(input_ids.shape))
        return SimpleNamespace(logits=self.table(input_ids))


ROWS = np.array([[0, 1, 2, 2], [2, 0, 0, 1]])
EXPECTED = -np.log([[0.2, 0.25, 0.5], [0.125, 0.7, 0.2]])


def test_an_entry_is_the_loss_of_the_next_token():
    model = Bigrams()
    losses = token_losses(model, ROWS)
    assert losses.dtype == np.float32 and losses.shape == (2, 3)
    np.testing.assert_allclose(losses, EXPECTED, rtol=1e-6)
    assert model.read == [(2, 3)], "the last token is only a label"


@pytest.mark.parametrize("rows", [1, 4, 5, 6])
def test_logits_in_parts_give_the_same(monkeypatch, rows):
    monkeypatch.setattr(scoring, "_ROWS", rows)
    np.testing.assert_allclose(token_losses(Bigrams(), ROWS), EXPECTED, rtol=1e-6)


def test_rows_that_are_no_piece_of_memory():
    wide = np.repeat(ROWS, 2, axis=1)[:, ::2]
    assert not wide.flags.c_contiguous
    np.testing.assert_allclose(token_losses(Bigrams(), wide), EXPECTED, rtol=1e-6)


def test_probabilities_are_summed_in_float32():
    losses = token_losses(Bigrams(torch.bfloat16), ROWS)
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, EXPECTED, atol=0.02)
    # A row of probabilities adds up to one far more exactly than bfloat16 could say it.
    every = token_losses(Bigrams(torch.bfloat16), np.array([[0, 0], [0, 1], [0, 2]]))
    assert math.fsum(np.exp(-every[:, 0].astype(np.float64))) == pytest.approx(1, abs=1e-6)


class Cramped(Bigrams):
    """Memory for so many rows; a GPU's error without one."""

    def __init__(self, rows: int):
        super().__init__()
        self.rows = rows

    def forward(self, input_ids: torch.Tensor, use_cache: bool):
        found = super().forward(input_ids, use_cache)
        if len(input_ids) > self.rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return found


def test_where_memory_is_short_rows_are_scored_in_halves():
    model = Cramped(2)
    rows, expected = np.tile(ROWS, (3, 1))[:5], np.tile(EXPECTED, (3, 1))[:5]
    np.testing.assert_allclose(token_losses(model, rows), expected, rtol=1e-6)
    assert model.read == [(5, 3), (2, 3), (3, 3), (1, 3), (2, 3)]


def test_a_row_that_does_not_fit():
    with pytest.raises(InputError, match="a sequence of 4 tokens does not fit into the GPU's memory"):
        token_losses(Cramped(0), ROWS)
