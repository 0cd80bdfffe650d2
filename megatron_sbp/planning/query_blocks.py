"""Whose neighbors one task of the exact search finds: files of documents, enough that comparing takes longest.

A task reads all vectors once. With a file of 100,000 documents for each task, 60 million documents of 1,024 dimensions
would be read 600 times (74 TB).
"""

from __future__ import annotations

from megatron_sbp.recipe import Recipe

_AT_LEAST = 32
"""Tasks among which a search is divided, if there are so many files."""

_DOCUMENTS = 1_200_000
"""Documents of a task: their vectors and candidates take 12 GB at 1,024 dimensions and k = 200."""

_COMPARISONS = {"gpu": 5e14, "cpu": 2.5e12}
"""Pairs of documents that a task compares: 1e18 and 5e15 FLOPs at 1,024 dimensions, an hour and a half at 200 TFLOP/s
(half of what an H100 reaches in TF32), or at 1 TFLOP/s (some 16 cores)."""


def query_blocks(files: int, documents_per_file: int, device: str) -> list[range]:
    """Consecutive files for every task: up to 32 tasks have one each; more files are shared out evenly.

    Args:
        files: number of files.
        documents_per_file: of all but the last.
        device: gpu or cpu: what compares.

    Returns:
        The numbers of the files of each task.
    """
    documents = files * documents_per_file
    wanted = max(_AT_LEAST, documents / _DOCUMENTS, documents**2 / _COMPARISONS[device])
    blocks = min(files, -int(-wanted // 1))
    return [range(files * block // blocks, files * (block + 1) // blocks) for block in range(blocks)]


def query_blocks_of(recipe: Recipe, files: int) -> list[range]:
    """The same for a recipe: blocks of the exact engine; ScaNN's tasks have a file each."""
    if recipe.neighbors.engine != "exact":
        return [range(number, number + 1) for number in range(files)]
    wanted = recipe.launch.device
    on_gpu = wanted == "cuda" or (wanted == "auto" and recipe.slurm.gpus_per_node is not None)
    return query_blocks(files, recipe.documents.documents_per_shard, "gpu" if on_gpu else "cpu")
