"""A small corpus with structure to learn, its tokenizer, and Megatron on CPU ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from megatron_ranks import END, PADDING, SEPARATOR, VOCABULARY, Megatron, environment, markov_documents, write_indexed


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Folder with real, synthetic, valid, pairs and valid_pairs datasets, and a tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("corpus")
    for name, count, seed in (("real", 120, 1), ("synthetic", 90, 2), ("valid", 60, 3)):
        write_indexed(folder / name, [[[*tokens, END]] for tokens in markov_documents(count, seed)])
    for name, count, seed in (("pairs", 120, 4), ("valid_pairs", 40, 5)):
        seeds, targets = markov_documents(count, seed, 5, 40), markov_documents(count, seed + 100, 5, 40)
        write_indexed(folder / name, [[one, [*other, END]] for one, other in zip(seeds, targets, strict=True)])
    vocabulary = {"<|endoftext|>": END, "<|padding|>": PADDING, "<|related|>": SEPARATOR}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    while len(vocabulary) < VOCABULARY:
        vocabulary[f"unused{len(vocabulary)}"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|padding|>"
    ).save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def rank_server():
    """tests/training/rank_server.py, for all tests of this process."""
    program = str(Path(__file__).with_name("rank_server.py"))
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
def megatron(corpus, tmp_path, rank_server) -> Megatron:
    return Megatron(corpus, tmp_path, rank_server)
