"""A recipe to publish, and what a card says."""

from __future__ import annotations

from pathlib import Path

import yaml
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents, Recipe

PROVENANCE = {
    "architecture": "Qwen3ForCausalLM", "parameters": 60_000, "weights_sha256": "cd" * 32, "dtype": "bfloat16",
    "iteration": 195,
}  # fmt: skip

AUDIT = {"tokens": 60_001, "generations": 220, "kept": 209, "dropped": {"too_short": 0, "unfinished": 11}}


def recipe(**sections) -> Recipe:
    documents = sections.pop("documents", Documents(inputs=["corpus.jsonl"], train=12_000, valid=40, test=30))
    return small_recipe(Path("/home/someone/run"), documents, **sections)


def parts(card: str) -> tuple[dict, str]:
    """Header and text."""
    empty, header, text = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(header), text
