"""Embeddings by vLLM: beside those of sentence-transformers where it is installed, and what is said where it is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from support.made_up_text import docstrings
from support.qwen3_embedder import save_embedder

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.embedders import open_embedder
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.pairing.vllm_embedding import VllmEmbedder, _limit
from megatron_sbp.recipe import Embedding


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_embedder(tmp_path_factory.mktemp("qwen3") / "model", docstrings()[:80], 64)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_other_engine_and_the_other_interpreter_are_named(model):
    with pytest.raises(InputError, match=r"embedding.vllm.python.*sentence_transformers runs anywhere") as found:
        open_embedder("vllm", Embedding(model=str(model)), Path.cwd(), "cpu")
    assert found.value.key == "embedding.engine"


def test_a_model_reads_what_its_folder_says_or_its_positions(model, tmp_path):
    positions = files.read_json(model / "config.json")["max_position_embeddings"]
    assert _limit(str(model), None) == positions == 64
    for said, limit in (({"max_seq_length": 48}, 48), ({"max_seq_length": None}, 64), ({}, 64)):
        files.write_json(tmp_path / "sentence_bert_config.json", said)
        assert _limit(str(model), tmp_path) == limit
    (tmp_path / "sentence_bert_config.json").unlink()
    with pytest.raises(InputError, match="cannot be loaded") as found:
        _limit(str(tmp_path), tmp_path)
    assert found.value.key == "embedding.model"


@pytest.mark.exhaustive
@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_embeds_as_sentence_transformers_do(model, vllm_python, tmp_path):
    """In its own environment, through the stage."""
    import subprocess

    from support.whole_program import environment, sbp

    rows = [{"id": f"document {number}", "text": text} for number, text in enumerate(docstrings()[:60])]
    files.write_jsonl_zst(tmp_path / "corpus.jsonl.zst", rows)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: embedded\n"
        "documents: {inputs: [corpus.jsonl.zst], id_field: id, train: 40, valid: 10, test: 10, oracle: 0}\n"
        "tokenizer: {vocab_size: 400}\n"
        "model: {num_layers: 2, hidden_size: 32, ffn_hidden_size: 64, num_attention_heads: 4, num_query_groups: 2, "
        "sequence_length: 128}\n"
        "training: {train_tokens: 10_000, global_batch_size: 4, micro_batch_size: 2}\n"
        f"embedding: {{model: {model}, max_tokens: 48, prompt: 'Query: ', engine: vllm, "
        f"vllm: {{python: {vllm_python}}}}}\n"
        "synthesis: {tokens: 1_000}\n"
        "launch: {device: cpu}\n"
    )
    done = subprocess.run(
        sbp("run", recipe, "--until", "embed", f"run_folder={tmp_path / 'run'}"),
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    usual = Embedder(Embedding(model=str(model), max_tokens=48, prompt="Query: "), Path.cwd(), "cpu")
    for split, size in (("train", 40), ("valid", 10), ("test", 10)):
        documents = [
            row["text"]
            for shard in sorted((tmp_path / "run" / "documents" / split).iterdir())
            for row in files.read_jsonl_zst(shard)
        ]
        shards = sorted((tmp_path / "run" / "embeddings" / split).glob("*.npy"))
        found = np.concatenate([np.load(shard) for shard in shards]).astype(np.float32)
        assert found.shape == (size, 64)
        np.testing.assert_allclose(found, usual.encode(documents), atol=1e-3)  # float16 on disk


def test_a_vector_of_another_dimension_names_the_document():
    """vLLM's answer is a list for each document; an engine that was given one too short says whose it is."""
    embedder = object.__new__(VllmEmbedder)
    embedder.settings, embedder.max_tokens, embedder.dimensions = Embedding(model="some"), 64, 3
    embedder._embedded = lambda texts: [[1.0, 0.0, 0.0][: len(text)] for text in texts]
    with pytest.raises(InputError, match=r"the embedding of document 1 has 2 dimensions, and .* some have 3") as found:
        embedder.encode(["abc", "ab", "abc"], name=lambda place: f"document {place}", file=Path("a"))
    assert found.value.key == "embedding.model"
    assert embedder.encode(["abc", "abc"]).shape == (2, 3)
