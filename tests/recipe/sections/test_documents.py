"""Settings of the corpus and of the tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from megatron_sbp.recipe.sections import Documents, Tokenizer


def test_inputs_may_lie_in_the_home_folder_and_every_split_is_given():
    inputs = ["~/corpus/*.jsonl.zst", "x.parquet"]
    documents = Documents.model_validate({"inputs": inputs, "train": "1e3", "valid": 5, "test": 5})
    assert documents.inputs == [str(Path.home() / "corpus/*.jsonl.zst"), "x.parquet"] and documents.train == 1000
    with pytest.raises(ValidationError, match="test"):
        Documents.model_validate({"inputs": inputs, "train": 1000, "valid": 5})


def test_ids_of_tokens_fit_into_32_bits():
    assert Tokenizer(vocab_size=2**31 - 1).vocab_size == 2**31 - 1
    with pytest.raises(ValidationError, match="vocab_size"):
        Tokenizer(vocab_size=2**31)
