"""The assumptions of the plan's estimates."""

from __future__ import annotations

import math

ASSUMPTIONS: dict[str, tuple[float, str]] = {
    "tokens_per_document": (828.0, "482B tokens in 582M documents of DCLM (docs/paper.md, mark A)"),
    "bytes_per_token": (4.5, "byte-level BPE of 49,152 entries or more on English text; 0.34 less for every halving"),
    "text_compression": (2.7, "zstd on JSON lines of English text"),
    "bytes_per_token_id": (1.75, "zstd on the ids in the rows of generations; 1.7 measured at 32,768 entries"),
    "peak_flops": (989e12, "one H100, dense bf16"),
    "training_mfu": (
        0.40,
        "share of the peak in training, embedding and reading seed documents; exact search: of half the peak (TF32)",
    ),
    "generation_mfu": (0.05, "share of the peak in writing; vLLM reached 3 to 6 % with 1.7B and 4B models on an H100"),
    "passing": (0.8, "share of the written tokens that pass the filters, until a pilot has measured it"),
    "device_bytes": (80e9, "memory of one H100"),
    "node_write_rate": (
        1e9,
        "bytes/s that the ranks of a node write to the file system; `sbp doctor` measures one process",
    ),
}
"""Assumptions of the estimates: value and reason."""

# Embedders known here: dimensions of the vectors, weights in matrix products (the token embedding left out).
EMBEDDERS = {"qwen3-embedding-0.6b": (1024, 440_401_920), "minilm-l6": (384, 10_616_832)}
UNKNOWN_EMBEDDER = "qwen3-embedding-0.6b"


def assumed(name: str) -> float:
    """The value of an assumption."""
    return ASSUMPTIONS[name][0]


def bytes_per_token(vocab: int) -> float:
    """Bytes of English text in a token of a byte-level BPE.

    Measured: 2.95 at 2,048 entries (examples/quickstart), 3.3 at 4,096 (examples/debian_docs), 4.5 at 49,152.

    Args:
        vocab: entries of the vocabulary.
    """
    most = assumed("bytes_per_token")
    return max(1.0, most - 0.34 * max(0.0, math.log2(49_152 / max(1, vocab))))
