from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Documents, Recipe, Tokenizer
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run


def build_recipe(folder: Path, run_folder: str, **documents: Any) -> Recipe:
    defaults = {"inputs": ["*.jsonl"], "train": 4, "valid": 2, "test": 2}
    recipe = small_recipe(
        folder / run_folder, Documents(**{**defaults, **documents}), tokenizer=Tokenizer(vocab_size=300)
    )
    recipe.source = folder / "recipe.yaml"
    return recipe


@pytest.fixture
def run_documents(tmp_path: Path) -> Callable[..., Run]:
    """Runs the stage on the files below tmp_path, with the given recipe fields."""

    def run(
        run_folder: str = "run",
        seed: int = 1,
        folder: Path = tmp_path,
        shard: tuple[int, int] = (1, 1),
        **documents: Any,
    ) -> Run:
        recipe = build_recipe(folder, run_folder, **documents)
        recipe.seed = seed
        stage = DocumentsStage()
        made = Run.of(recipe)
        assert StageRunner(made, stage, [stage]).execute(shard) == (shard == (1, 1))
        return made

    return run


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
