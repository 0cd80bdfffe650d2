"""A small corpus with structure to learn, its tokenizer, and Megatron on CPU ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.megatron_ranks import ServedMegatron, environment, make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """The folder that make_corpus fills."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def rank_server():
    """tests/support/rank_server.py, for all tests of this process."""
    program = str(Path(__file__).parents[1] / "support" / "rank_server.py")
    with open(os.devnull, "w") as nowhere:
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", program],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=nowhere,
            text=True,
        )
    assert server.stdout.readline() == "ready\n"
    yield server
    server.stdin.close()
    server.wait(timeout=30)


@pytest.fixture
def megatron(corpus, tmp_path, rank_server) -> ServedMegatron:
    return ServedMegatron(corpus, tmp_path, rank_server)
