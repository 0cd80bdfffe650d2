"""The stage `filter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class FilterStage(Stage):
    """Writes synthetic/NNNNN.jsonl.zst, the raw generations that passed every rule, and synthetic/audit.json.

    A unit judges the raw generations of one shard one by one; duplicates among all of them are found by `finish`.
    """

    name = "filter"
    title = "drop loops, copies, duplicates, and fragments"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "tokenizer": ("tokenizer/*",),
            "tokenize": ("tokens/real.*",),
            "synthesize": ("synthetic/generations/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.filter), "shingle_tokens": run.recipe.pairs.shingle_tokens}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        chosen = settings(run.recipe.filter, "duplicates", "duplicate_threshold")
        return {**chosen, "shingle_tokens": run.recipe.pairs.shingle_tokens}

    def units(self, run: Run) -> list[str]:
        return [file.name.removesuffix(".jsonl.zst") for file in run.generation_shards()]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("synthetic/audit.json", "synthetic/[0-9]*.jsonl.zst", "synthetic/verdicts")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.filter_shards import judge_shard

        target = run.verdicts(unit)
        judge_shard(
            run.generations / f"{unit}.jsonl.zst",
            target,
            tokenizer=run.tokenizer,
            tokens=run.tokens("real"),
            rules=run.recipe.filter,
            length=run.recipe.pairs.shingle_tokens,
        )
        return [target]

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.filter_shards import JudgedShard, write_kept

        shards = [
            JudgedShard(run.generations / f"{unit}.jsonl.zst", run.verdicts(unit), run.synthetic_shard(unit))
            for unit in self.units(run)
        ]
        return write_kept(shards, run.audit_synthetic, run.recipe.filter)

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.parent.name == "verdicts"
