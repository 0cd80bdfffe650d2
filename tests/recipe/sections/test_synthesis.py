"""Settings of generation and of the filters."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.sections import Filter, Synthesis, Vllm


def test_which_settings_of_vllm_change_texts():
    plain = Vllm()
    for key, value in (("max_num_seqs", 8), ("gpu_memory", 0.5), ("prefix_caching", False), ("python", "/x")):
        assert Vllm.model_validate({key: value}).of_text() == plain.of_text(), key
    for key, value in (("tensor_parallel", 2), ("eager", True), ("batch_invariant", True), ("speculative_tokens", 4)):
        assert Vllm.model_validate({key: value}).of_text() != plain.of_text(), key


def test_opt_in_filters_are_off_by_default_and_kept_in_order():
    assert Filter().further == (None, None, None, None)
    chosen = Filter(min_similarity=0.1, predicate="a.py:f", contaminated="drop", max_corpus_copying=0.2)
    assert chosen.further == (0.2, "drop", "a.py:f", 0.1)


def test_ranges_of_sampling():
    assert Synthesis(tokens=1, temperature=1e-3, top_p=1, margin=1).top_p == 1.0
    for key, value in (("temperature", 0), ("top_p", 0), ("top_p", 1.1), ("margin", 0.99), ("pilot", -1)):
        with pytest.raises(ValidationError, match=key):
            Synthesis.model_validate({"tokens": 1, key: value})
