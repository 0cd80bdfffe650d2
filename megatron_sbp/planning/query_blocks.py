"""Whose neighbors one task finds, and among how many ScaNN indexes the documents are divided.

A task of the exact search reads all vectors once, so it gets enough files that comparing takes longest: with a file of
100,000 documents for each task, 60 million documents of 1,024 dimensions would be read 600 times (74 TB). A task of
ScaNN that searches several indexes loads each of them once.
"""

from __future__ import annotations

from megatron_sbp.recipe import Neighbors, Recipe

_AT_LEAST = 32
"""Tasks among which a search is divided, if there are that many files."""

_DOCUMENTS = 1_200_000
"""Documents of a task: their vectors and candidates take 12 GB at 1,024 dimensions and k = 200."""

_COMPARISONS = {"gpu": 5 * 10**14, "cpu": 25 * 10**11}
"""Pairs of documents that a task compares: 1e18 and 5e15 FLOPs at 1,024 dimensions, an hour and a half at 200 TFLOP/s
(half of what an H100 reaches in TF32), or at 1 TFLOP/s (some 16 cores)."""


def block_count(files: int, documents_per_file: int, device: str) -> int:
    """Tasks of a search: as many as files up to 32, and more where documents or comparisons are too many for one.

    Args:
        files: number of files.
        documents_per_file: of all but the last.
        device: gpu or cpu: what compares.
    """
    documents = files * documents_per_file
    return min(files, max(_AT_LEAST, -(-documents // _DOCUMENTS), -(-(documents**2) // _COMPARISONS[device])))


def block_count_of(recipe: Recipe, files: int) -> int:
    """The same for a recipe. ScaNN's tasks have a file each, or several where each of them loads several indexes."""
    if recipe.neighbors.engine != "exact":
        if part_count_of(recipe, files) == 1:
            return files
        return min(files, max(_AT_LEAST, -(-files * recipe.documents.documents_per_shard // _DOCUMENTS)))
    wanted = recipe.launch.device
    on_gpu = wanted == "cuda" or (wanted == "auto" and recipe.slurm.gpus_per_node is not None)
    return block_count(files, recipe.documents.documents_per_shard, "gpu" if on_gpu else "cpu")


def part_count(documents: int, files: int, settings: Neighbors) -> int:
    """ScaNN indexes among which the documents are divided, each of whole files."""
    return max(1, min(files, -(-documents // settings.documents_per_index)))


def part_count_of(recipe: Recipe, files: int) -> int:
    """The same for a recipe; 1 for the exact engine, which has no index."""
    if recipe.neighbors.engine == "exact":
        return 1
    return part_count(files * recipe.documents.documents_per_shard, files, recipe.neighbors)


def query_blocks(files: int, blocks: int) -> list[range]:
    """The numbers of the files of each task: consecutive ones, shared out evenly."""
    return [range(files * block // blocks, files * (block + 1) // blocks) for block in range(blocks)]
