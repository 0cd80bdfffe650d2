"""A small corpus with structure to learn, its tokenizer, and Megatron on CPU ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.megatron_ranks import ServedMegatron, make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """The folder that make_corpus fills."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def megatron(corpus, tmp_path, rank_server) -> ServedMegatron:
    return ServedMegatron(corpus, tmp_path, rank_server)
