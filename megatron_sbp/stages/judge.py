"""`sbp judge`: the verdicts of the filters on single texts, and signatures for finding duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.questions import question_files
from megatron_sbp.recipe import settings
from megatron_sbp.recipe.user_functions import predicate_place
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.evaluation_items import evaluation_items, item_reads
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage

if TYPE_CHECKING:
    from megatron_sbp.synthesis.further_rules import FurtherSources


GENERATIONS = usual.generation_shard(UNIT)
"""Inputs of a stage that works on raw generations shard by shard: adding shards leaves the work on the others valid."""


class JudgeStage(Stage):
    """Writes the filters' verdicts on every raw generation by itself, and signatures to find duplicates with.

    A unit is one shard of raw generations. Disk: about 800 bytes per generation with `duplicates: near`, else 16.
    """

    name = "judge"
    title = "apply the filters that look at one generation at a time: loops, copies, fragments"
    sharded = True

    def __init__(self) -> None:
        self._opened: tuple[object, FurtherSources] | None = None

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "tokenizer": (usual.inside(usual.TOKENIZER),),
            "tokenize": (usual.tokens("real"),),
            "synthesize": (GENERATIONS,),
            **({} if run.recipe.filter.contaminated is None else {"documents": (usual.documents("test"),)}),
            **item_reads(run),
            **(
                {}
                if run.recipe.filter.max_corpus_copying is None
                else {"index-corpus": (usual.inside(usual.CORPUS_INDEX),)}
            ),
            **({} if run.recipe.filter.min_similarity is None else {"compare": (usual.similarity(UNIT),)}),
        }

    def external(self, run: Run) -> list[Path]:
        place = predicate_place(run.recipe)
        questions = [] if run.recipe.filter.contaminated is None else question_files(run.recipe)
        return [*questions, *([] if place is None else [place.file])]

    def settings(self, run: Run) -> JsonObject:
        # The index counts by its contents, the user's function by those of its file, see `external`. A rule that is
        # not used is left out: what was judged before there was such a rule stays valid.
        chosen = settings(run.recipe.filter, "duplicates", "duplicate_threshold", "corpus_index_gb", "predicate")
        for key in (
            "max_corpus_copying",
            "contaminated",
            "min_similarity",
            "max_token_repetition",
            "max_periodic_tail",
        ):
            if chosen[key] is None:
                del chosen[key]
        if chosen["broken_text"] == "drop":
            del chosen["broken_text"]
        if not chosen["retokenize"]:
            del chosen["retokenize"]
        place = predicate_place(run.recipe)
        if place is not None:
            chosen["predicate"] = place.name
        signed = run.recipe.filter.duplicates == "near"
        return {**chosen, "shingle_tokens": run.recipe.pairs.shingle_tokens, "signatures": signed}

    def units(self, run: Run) -> list[str]:
        return generation_names(run)

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.JUDGED,)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.judging import judge_shard
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        return judge_shard(
            list(files.read_jsonl_zst(run.generation_shard(unit))),
            unit,
            run.judged(unit),
            tokenizer=load_tokenizer(run.tokenizer),
            tokens=run.tokens("real"),
            rules=run.recipe.filter,
            length=run.recipe.pairs.shingle_tokens,
            sources=self._sources(run),
        )

    def _sources(self, run: Run) -> FurtherSources:
        """Data of the opt-in rules, kept for the next unit."""
        key = (run.root, self.unit_settings(run))
        if self._opened is None or self._opened[0] != key:
            self._opened = key, further_sources(run)
        return self._opened[1]


def generation_names(run: Run) -> list[str]:
    """Names of the shards of raw generations, in order."""
    return [file.name.removesuffix(JSONL_ZST) for file in run.generation_shards()]


def further_sources(run: Run) -> FurtherSources:
    """Files that the filters read besides the generations and their seed documents; missing ones are left out."""
    from megatron_sbp.overlap.contamination import ItemIndex
    from megatron_sbp.synthesis.further_rules import FurtherSources

    items = None if run.recipe.filter.contaminated is None else ItemIndex(evaluation_items(run))
    indexed = run.corpus_index_file.exists()
    return FurtherSources(run.corpus_index if indexed else None, items, predicate_place(run.recipe), run.similarities)
