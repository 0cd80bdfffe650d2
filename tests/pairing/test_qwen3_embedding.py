"""An embedder built as Qwen3-Embedding is: its vector is the last token's, padding is on the left, and a query may have
an instruction in front. The checkpoint is tiny, and its weights are random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.made_up_text import docstrings
from support.qwen3_embedder import save_embedder

from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding

LIMIT = 64
TEXTS = ["Red.", "A sentence about tokens, and one about models.", "x" * 40, "the quick brown fox " * 60, ""]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_embedder(tmp_path_factory.mktemp("qwen3") / "model", docstrings()[:80], LIMIT)


def embedder(model: Path, **settings) -> Embedder:
    return Embedder(Embedding(model=str(model), **{"max_tokens": LIMIT, **settings}), Path.cwd(), "cpu")


def by_hand(model: Path, text: str, limit: int = LIMIT) -> np.ndarray:
    """The normalized last state over the last token, which is end-of-text, without padding."""
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(model)(text, truncation=True, max_length=limit)["input_ids"]
    assert tokens[-1] == 0 and len(tokens) <= limit
    with torch.inference_mode():
        state = AutoModel.from_pretrained(model)(torch.tensor([tokens])).last_hidden_state[0, -1].numpy()
    return state / np.linalg.norm(state)


@pytest.mark.parametrize("settings", [{"batch_size": 32}, {"batch_size": 1}, {"batch_tokens": 100}])
def test_the_last_token_in_whatever_batch(model, settings):
    vectors = embedder(model, **settings).encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, by_hand(model, text), atol=2e-6)


def test_truncation_keeps_the_end_of_text(model):
    long = embedder(model, max_tokens=16).encode(TEXTS)[3]
    np.testing.assert_allclose(long, by_hand(model, TEXTS[3], 16), atol=2e-6)
    assert long @ by_hand(model, TEXTS[3]) < 0.999


def test_an_instruction_is_part_of_the_text(model):
    prompt = "Instruct: Find documents about the same thing\nQuery: "
    vector = embedder(model, prompt=prompt).encode(TEXTS[1:2])[0]
    np.testing.assert_allclose(vector, by_hand(model, prompt + TEXTS[1]), atol=2e-6)
    assert vector @ by_hand(model, TEXTS[1]) < 0.999


@pytest.fixture(scope="module")
def counted(model) -> tuple[list[str], np.ndarray]:
    """Texts of 1 to 17 words, and their vectors in batches of usual size."""
    texts = ["word " * (number % 17 + 1) for number in range(60)]
    return texts, embedder(model, prompt="Query: ").encode(texts)


@pytest.mark.parametrize("budget", [1, 50, 200, 10**6])
def test_no_batch_has_more_tokens_than_its_budget(model, counted, budget):
    """Padding included; only a document that is longer than the budget goes alone beyond it."""
    texts, expected = counted
    one = embedder(model, batch_tokens=budget, prompt="Query: ")
    shapes = []
    inner = one._model[0]
    hook = inner.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0]["input_ids"].shape)))
    try:
        vectors = one.encode(texts)
    finally:
        hook.remove()
    assert sum(count for count, _ in shapes) == len(texts)
    assert all(count * length <= budget or count == 1 for count, length in shapes)
    # No batch could take its neighbor's first document: it is as full as the budget lets it be.
    assert all((count + 1) * length > budget for count, length in shapes[:-1])
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
