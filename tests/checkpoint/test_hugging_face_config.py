"""config.json and the recipe's model, both ways."""

from __future__ import annotations

import pytest
from support.made_up_model import shape

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.hugging_face_config import check_model, read_config, write_config
from megatron_sbp.tokenization.bpe import train_bpe

ROLES = {"end_of_document": "<|endoftext|>", "padding": "<|padding|>", "separator": "<|related|>"}


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["some text, and more of it"], 290, ROLES)


@pytest.mark.parametrize("model", [shape(True, True), shape(False, False), shape(True, False, groups=1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_written_is_read(tokenizer, tmp_path, model, dtype):
    written = write_config(model, tokenizer, dtype)
    files.write_json(tmp_path / "config.json", written)
    found, rows = read_config(tmp_path / "config.json")
    assert rows == tokenizer.vocab_size and written["torch_dtype"] == written["dtype"] == dtype
    check_model(found, model, tmp_path / "config.json")
    assert written["eos_token_id"] == tokenizer.end_of_document != written["pad_token_id"] == tokenizer.padding


def test_transformers_understands_it(tokenizer, tmp_path):
    from transformers import AutoConfig

    for model in (shape(True, True), shape(False, False, heads=8)):
        files.write_json(tmp_path / "config.json", write_config(model, tokenizer, "float32"))
        found = AutoConfig.from_pretrained(tmp_path)
        assert (found.head_dim, found.num_key_value_heads) == (model.head_size, model.num_query_groups)
        assert found.rope_parameters["rope_theta"] == model.rotary_base


@pytest.mark.parametrize(
    ("change", "key", "both"),
    [
        ({"num_layers": 4}, "num_hidden_layers", "is 3, the recipe's model.num_layers is 4"),
        ({"rotary_base": 1e4}, "rope_theta", "model.rotary_base is 10000"),
        ({"qk_layernorm": False}, "model_type", "is qwen3 (QK-norm)"),
        ({"tied_embeddings": False}, "tie_word_embeddings", "is True"),
        ({"kv_channels": 32}, "head_dim", "is 16"),
    ],
)
def test_the_first_difference_has_both_values(tmp_path, change, key, both):
    found = shape(True, True)
    with pytest.raises(InputError) as caught:
        check_model(found, found.model_copy(update=change), tmp_path / "config.json")
    assert caught.value.key == key and both in str(caught.value)


def test_a_longer_context_is_no_difference(tmp_path):
    found = shape(True, True)
    check_model(found, found.model_copy(update={"sequence_length": 32}), tmp_path / "config.json")


@pytest.mark.parametrize("text", ["[]", '"x"', "{}"])
def test_what_is_no_config(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 0, "head_dim": None}, {"hidden_size": "64", "head_dim": None}, {"rope_scaling": [1]},
        {"rope_theta": "x", "rope_parameters": None}, {"layer_types": 3}, {"model_type": ["llama"]},
        {"vocab_size": "10"}, {"vocab_size": 9.5},
    ],
)  # fmt: skip
def test_values_of_another_kind(tokenizer, tmp_path, change):
    """Each was a traceback."""
    written = write_config(shape(False, False), tokenizer, "float32")
    files.write_json(tmp_path / "config.json", {**written, **change})
    with pytest.raises(InputError, match=r"config\.json: "):
        read_config(tmp_path / "config.json")
