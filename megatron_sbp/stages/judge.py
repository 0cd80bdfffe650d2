"""The stage `judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class JudgeStage(Stage):
    """Writes what the filters say of every raw generation by itself, and signatures to find duplicates with.

    A unit is one shard of raw generations. Disk: about 800 bytes per generation with `duplicates: near`, else 16.
    """

    name = "judge"
    title = "what the filters say of every generation by itself: loops, copies, fragments"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "tokenizer": ("tokenizer/*",),
            "tokenize": ("tokens/real.*",),
            "synthesize": ("synthetic/generations/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        chosen = settings(run.recipe.filter, "duplicates", "duplicate_threshold")
        signed = run.recipe.filter.duplicates == "near"
        return {**chosen, "shingle_tokens": run.recipe.pairs.shingle_tokens, "signatures": signed}

    def units(self, run: Run) -> list[str]:
        return generation_names(run)

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("synthetic/judged",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.judging import judge_shard

        return judge_shard(
            run.generations / f"{unit}.jsonl.zst",
            run.judged(unit),
            tokenizer=run.tokenizer,
            tokens=run.tokens("real"),
            rules=run.recipe.filter,
            length=run.recipe.pairs.shingle_tokens,
        )


def generation_names(run: Run) -> list[str]:
    """Names of the shards of raw generations, in order."""
    return [file.name.removesuffix(".jsonl.zst") for file in run.generation_shards()]
