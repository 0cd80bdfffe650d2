"""Tiny models with random weights that real libraries load: the same arguments give the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_sbp.base import files
from megatron_sbp.checkpoint.initial_weights import check_tokenizer
from megatron_sbp.recipe import Model, Tokenizer
from megatron_sbp.rehearsal.made_up_documents import made_up_documents
from megatron_sbp.rehearsal.made_up_models import make_embedder, make_start
from megatron_sbp.tokenization.tokenizer import load_tokenizer

TEXTS = [document.text for document in made_up_documents(40, seed=1)]
MODEL = Model(
    num_layers=2, hidden_size=32, ffn_hidden_size=64, num_attention_heads=4, num_query_groups=2, sequence_length=64
)  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in found}


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "embedder"
    make_embedder(folder, TEXTS, max_tokens=16, seed=1)
    return folder


def test_an_embedder_is_alone_in_its_folder(embedder):
    assert [path.name for path in embedder.parent.iterdir()] == ["embedder"] and (embedder / "modules.json").is_file()


def test_the_same_seed_makes_the_same_embedder_and_no_other_random_numbers_change(embedder, tmp_path):
    before = torch.get_rng_state()
    make_embedder(tmp_path / "embedder", TEXTS, max_tokens=16, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert digests(tmp_path / "embedder") == digests(embedder)
    make_embedder(tmp_path / "other", TEXTS, max_tokens=16, seed=2)
    same = {name for name, digest in digests(tmp_path / "other").items() if digests(embedder)[name] == digest}
    assert "tokenizer.json" in same and not any(name.endswith(".safetensors") for name in same)


def test_the_embedder_reads_so_many_tokens_and_no_more(embedder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(embedder), device="cpu")
    assert model.max_seq_length == 16
    short, long, other = model.encode([" ".join(TEXTS[0].split()[:40]), TEXTS[0], TEXTS[1]])
    assert (short == long).all() and not (short == other).all()


@pytest.mark.parametrize(("norm", "architecture"), [(True, "Qwen3ForCausalLM"), (False, "LlamaForCausalLM")])
def test_a_checkpoint_has_the_shape_of_the_model_and_a_tokenizer_of_its_roles(tmp_path, norm, architecture):
    settings = Tokenizer(separator="<|mine|>")
    model = MODEL.model_copy(update={"qk_layernorm": norm})
    make_start(tmp_path / "start", model, settings, texts=TEXTS, tokenizer=None, seed=1)
    config = files.read_json(tmp_path / "start" / "config.json")
    assert config["architectures"] == [architecture]
    assert (config["num_hidden_layers"], config["hidden_size"], config["num_key_value_heads"]) == (2, 32, 2)
    tokenizer = load_tokenizer(tmp_path / "start")
    assert tokenizer.roles["separator"] == "<|mine|>" and config["vocab_size"] >= tokenizer.vocab_size
    check_tokenizer(tmp_path / "start", tokenizer)
    make_start(tmp_path / "again", model, settings, texts=TEXTS, tokenizer=None, seed=1)
    assert digests(tmp_path / "again") == digests(tmp_path / "start")


def test_a_tokenizer_that_is_given_is_taken(tmp_path):
    make_start(tmp_path / "first", MODEL, Tokenizer(), texts=TEXTS, tokenizer=None, seed=1)
    make_start(tmp_path / "second", MODEL, Tokenizer(), texts=["none of this"], tokenizer=tmp_path / "first", seed=2)
    one, other = (load_tokenizer(tmp_path / name) for name in ("first", "second"))
    assert one.encode_batch(TEXTS[:3]) == other.encode_batch(TEXTS[:3])
    assert digests(tmp_path / "first")["model.safetensors"] != digests(tmp_path / "second")["model.safetensors"]
