"""Options of an embedding model, and the section of a recipe that they make."""

from __future__ import annotations

from megatron_sbp.base import command_line
from megatron_sbp.pairing.embedding_options import add_embedding, embedding_values
from megatron_sbp.recipe import Embedding, make_section


def test_defaults_are_the_recipes():
    options = command_line.parser(None)
    add_embedding(options, "model")
    assert make_section(Embedding, **embedding_values(options.parse_args([]))) == Embedding()
    found = embedding_values(options.parse_args(["--prompt", "Text: ", "--embedding-engine", "vllm"]))
    assert found["prompt"] == "Text: " and found["engine"] == "vllm"
