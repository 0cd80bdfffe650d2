from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Documents, Model, Recipe, Synthesis, Tokenizer, Training
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run


def build_recipe(folder: Path, run_folder: str, **documents: Any) -> Recipe:
    defaults = {"inputs": ["*.jsonl"], "train": 4, "valid": 2, "test": 2}
    recipe = Recipe(
        name="test",
        documents=Documents(**{**defaults, **documents}),
        tokenizer=Tokenizer(vocab_size=300),
        model=Model(
            num_layers=2,
            hidden_size=64,
            ffn_hidden_size=128,
            num_attention_heads=4,
            num_query_groups=2,
            sequence_length=64,
        ),
        training=Training(train_tokens=100_000, global_batch_size=4, micro_batch_size=2),
        synthesis=Synthesis(tokens=1000),
        run_folder=str(folder / run_folder),
    )
    recipe.source = folder / "recipe.yaml"
    return recipe


@pytest.fixture
def run_documents(tmp_path: Path) -> Callable[..., Run]:
    """Runs the stage on the files below tmp_path, with the given recipe fields."""

    def run(run_folder: str = "run", seed: int = 1, folder: Path = tmp_path, **documents: Any) -> Run:
        recipe = build_recipe(folder, run_folder, **documents)
        recipe.seed = seed
        stage = DocumentsStage()
        made = Run.of(recipe)
        assert StageRunner(made, stage, [stage]).execute()
        return made

    return run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
