"""Options of the programs in tools/ that embed documents."""

from __future__ import annotations

import argparse

from megatron_sbp.base import command_line
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Embedding


def add_embedding(options: argparse._ActionsContainer, model: str) -> None:
    """Adds the options of an embedding model.

    Args:
        options: parser or group.
        model: help of --model.
    """
    defaults = Embedding()
    options.add_argument("--model", default=defaults.model, help=f"{model} (default: {defaults.model})")
    command_line.add_setting(options, "max-tokens", defaults.max_tokens, "tokens read from each document")
    command_line.add_setting(options, "batch-size", defaults.batch_size, "documents in one forward pass")
    options.add_argument(
        "--batch-tokens", type=int, help="tokens in one forward pass, padding included (default: by --batch-size)"
    )
    options.add_argument("--prompt", default="", help="text prepended to every document")
    options.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        default=defaults.precision,
        help=f"precision of the arithmetic (default: {defaults.precision})",
    )
    options.add_argument(
        "--embedding-engine",
        choices=("sentence_transformers", "vllm"),
        default=defaults.engine,
        help=f"vllm: its pooling mode, in an environment that has it (default: {defaults.engine})",
    )


def embedding_values(options: argparse.Namespace) -> JsonObject:
    """Values of the options of `add_embedding`, as keys of the recipe's `embedding`."""
    keys = ("model", "max_tokens", "batch_size", "batch_tokens", "prompt", "precision")
    return {**{key: getattr(options, key) for key in keys}, "engine": options.embedding_engine}
