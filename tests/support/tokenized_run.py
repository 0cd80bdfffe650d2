"""A run of real text, finished up to its tokens: 200 train, 50 oracle, 40 valid, 30 test documents."""

from __future__ import annotations

import itertools
from pathlib import Path

from support.small_recipe import small_recipe

from megatron_sbp.base import files
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import Documents, Recipe, Synthesis, Tokenizer, Tuning
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.tokenize import TokenizeStage
from megatron_sbp.stages.tokenizer import TokenizerStage

FOLDOC = Path(__file__).parents[2] / "examples" / "quickstart" / "foldoc.jsonl.zst"


class WrittenBefore(Stage):
    """Stands for an upstream stage whose files the test has written."""

    def __init__(self, name: str, paths: list[Path]):
        self.name, self._paths = name, paths

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        return self._paths


def recipe_in(folder: Path, **tokenizer) -> Recipe:
    recipe = small_recipe(
        folder / "run",
        Documents(inputs=[str(folder / "corpus.jsonl.zst")], train=200, valid=40, test=30, documents_per_shard=90),
        sequence_length=128,
        tokenizer=Tokenizer(**{"vocab_size": 800, **tokenizer}),
        synthesis=Synthesis(tokens=1300),
        tuning=Tuning(max_seed_tokens=60, max_target_tokens=50),
    )
    recipe.source = folder / "recipe.yaml"
    return recipe


def execute(run: Run, *stages: Stage) -> None:
    for stage in stages:
        assert StageRunner(run, stage, list(stages)).execute()


def tokenized_run(folder: Path) -> Run:
    """A run below `folder` with documents, tokenizer and tokens."""
    files.write_jsonl_zst(folder / "corpus.jsonl.zst", itertools.islice(files.read_jsonl_zst(FOLDOC), 320))
    made = Run.of(recipe_in(folder))
    execute(made, DocumentsStage(), TokenizerStage(), TokenizeStage())
    return made


def texts(run: Run, split: str) -> list[str]:
    return [row["text"] for shard in run.document_shards(split) for row in files.read_jsonl_zst(shard)]


def outputs(run: Run, *folders: str) -> dict[str, bytes]:
    found = [path for folder in folders for path in (run.root / folder).rglob("*") if path.is_file()]
    return {run.relative(path): path.read_bytes() for path in sorted(found)}
