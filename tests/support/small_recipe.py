"""The smallest recipe that its checks let pass, for tests of single stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.recipe import Documents, Model, Recipe, Synthesis, Tokenizer, Training


def small_recipe(run_folder: Path, documents: Documents, *, sequence_length: int = 64, **sections: Any) -> Recipe:
    """A recipe with a model of two layers.

    Args:
        run_folder: of the run.
        documents: the corpus and its splits.
        sequence_length: in tokens.
        sections: further sections of the recipe, or those to be used instead.
    """
    defaults = {"tokenizer": Tokenizer(vocab_size=1000), "synthesis": Synthesis(tokens=1000)}
    return Recipe(
        name="test",
        documents=documents,
        model=Model(
            num_layers=2,
            hidden_size=64,
            ffn_hidden_size=128,
            num_attention_heads=4,
            num_query_groups=2,
            sequence_length=sequence_length,
        ),
        training=Training(train_tokens=100_000, global_batch_size=4, micro_batch_size=2),
        run_folder=str(run_folder),
        **{**defaults, **sections},
    )
