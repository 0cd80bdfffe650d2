"""Settings of the search for related documents."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.sections import CONTROL_RELATIONS, Embedding, Pairs, VllmPooling


def test_vectors_depend_on_the_embedder_and_its_input_only():
    embedding = Embedding()
    batches = {"batch_size": 7, "batch_tokens": 1000, "engine": "vllm", "vllm": {"gpu_memory": 0.5}}
    assert Embedding.model_validate(batches).of_vectors() == embedding.of_vectors()
    for key, value in (("model", "other"), ("max_tokens", 7), ("prompt", "query: "), ("precision", "bf16")):
        assert Embedding.model_validate({key: value}).of_vectors() != embedding.of_vectors(), key


def test_controls_are_relations_that_a_recipe_may_name():
    for relation in CONTROL_RELATIONS:
        assert Pairs.model_validate({"relation": relation}).relation == relation
    with pytest.raises(ValidationError, match="relation"):
        Pairs.model_validate({"relation": "unrelated"})


def test_settings_of_an_engine_can_be_keys_of_a_cache():
    assert hash(VllmPooling(eager=True)) == hash(VllmPooling(eager=True))
    with pytest.raises(ValidationError, match="frozen"):
        VllmPooling().eager = True
