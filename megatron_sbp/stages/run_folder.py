"""Where everything of one run is on disk; `usual_names.py` and `record_names.py` have the names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import is_utf8
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.names import MOST_SHARDS
from megatron_sbp.recipe.names import SPLITS as SPLITS
from megatron_sbp.stages.corpus_paths import CorpusPaths
from megatron_sbp.stages.record_paths import RecordPaths
from megatron_sbp.stages.result_paths import ResultPaths
from megatron_sbp.stages.synthesis_paths import SynthesisPaths


@dataclass(frozen=True)
class Run(CorpusPaths, SynthesisPaths, ResultPaths, RecordPaths):
    """A recipe together with its run folder. Paths only: nothing is created here.

    `Placed` says how a stage comes to see its own files under their usual names.
    """

    @staticmethod
    def of(recipe: Recipe) -> Run:
        """The run of a recipe: `run_folder`, or runs/LABEL below the current folder, where LABEL follows from the place
        of the recipe (`label`).

        Raises:
            InputError: the path of the run folder, or of the recipe, cannot be written as text.
        """
        root = Path(recipe.run_folder or f"runs/{label(recipe)}").resolve()
        for path in (root, recipe.folder):
            if not is_utf8(path) or "\n" in str(path):
                raise InputError("has a line feed or bytes that are not UTF-8 in its path; rename it", file=path)
        return Run(recipe, root)


def shard_name(index: int) -> str:
    """`00003`: the number of a shard as written in file names and unit names, which are sorted as text.

    Raises:
        InputError: the number has six digits.
    """
    if index >= MOST_SHARDS:
        raise InputError(
            f"a run has at most {MOST_SHARDS:,} shards of a kind; raise documents.documents_per_shard or "
            "synthesis.generations_per_shard"
        )
    return f"{index:05d}"


def identity_file(pilot: Path) -> Path:
    """Beside a shard of the pilot: the identity of its texts."""
    return pilot.with_name(pilot.name.removesuffix(JSONL_ZST) + ".json")


def label(recipe: Recipe) -> str:
    """Name of the default run folder: the recipe's own folder for FOLDER/recipe.yaml, the file's name for others.

    It follows from the place, so that a copy of an example runs in a folder of its own.
    """
    if recipe.source is None:
        return recipe.name
    source = recipe.source.resolve()
    return source.parent.name or recipe.name if source.stem == "recipe" else source.stem
