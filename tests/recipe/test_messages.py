"""What is wrong with a recipe, in words: the key, what was expected, and what was meant."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe import Launch, Model, Neighbors, Synthesis, Training
from megatron_sbp.recipe.messages import explain

MODEL = {"num_layers": 2, "hidden_size": 8, "ffn_hidden_size": 8, "num_attention_heads": 2, "num_query_groups": 2,
         "sequence_length": 8}  # fmt: skip
TRAINING = {"train_tokens": 100, "global_batch_size": 2, "micro_batch_size": 1}


def explained(section, values) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        section(**values)
    return explain(caught.value, section)


@pytest.mark.parametrize(
    ("section", "values", "key", "words"),
    [
        (Model, {**MODEL, "num_layer": 2}, "num_layer", "unknown key; did you mean 'num_layers'?"),
        (Model, {**MODEL, "zzz": 2}, "zzz", "unknown key; known here: num_layers, "),
        (
            Model,
            {name: MODEL[name] for name in MODEL if name != "num_layers"},
            "num_layers",
            "is missing and has no default",
        ),
        (Model, {**MODEL, "num_layers": 0}, "num_layers", "must be above 0, not 0"),
        (Model, {**MODEL, "num_layers": "two"}, "num_layers", "must be a whole number, not 'two'"),
        (Model, {**MODEL, "tied_embeddings": "yes"}, "tied_embeddings", "must be true or false, not 'yes'"),
        (Neighbors, {"engine": "faiss"}, "engine", "must be one of "),
        (Training, {**TRAINING, "megatron": [1]}, "megatron", "must be a mapping, not [1]"),
        (Synthesis, {"tokens": 9, "top_p": 1.5}, "top_p", "must be "),
        (Synthesis, {"tokens": 9, "draws_per_shard": 5}, "draws_per_shard", "is now called 'generations_per_shard'"),
        (Launch, {"workers": -1}, "workers", "must be "),
    ],
)
def test_the_first_thing_that_is_wrong(section, values, key, words):
    found = explained(section, values)
    assert found[0] == key and found[1].startswith(words), found


def test_a_misspelled_key_is_told_before_the_one_that_is_missing_for_it():
    values = {name: MODEL[name] for name in MODEL if name != "hidden_size"}
    key, words = explained(Model, {**values, "hiden_size": 8})
    assert key == "hiden_size" and "'hidden_size'" in words


def test_long_values_and_keys_are_cut():
    assert len(explained(Model, {**MODEL, "num_layers": "x" * 1000})[1]) < 150
    assert explained(Model, {**MODEL, "x" * 1000: 1})[1].startswith("unknown key")
