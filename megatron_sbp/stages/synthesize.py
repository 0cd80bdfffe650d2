"""The stages that write synthetic documents and filter them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run, shard_name
from megatron_sbp.stages.stage import Stage


class SynthesizeStage(Stage):
    """Writes synthetic/drafts/NNNNN.jsonl.zst: one row per draw, before any filter, with its parents."""

    name = "synthesize"
    title = "write a related document for every seed document drawn"
    sharded = True
    device = "gpu"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "documents": ("documents/train/*",),
            "tokenizer": ("tokenizer/*",),
            "tokenize": ("tokens/real.*",),
            "tokenize-pairs": ("tokens/pairs_audit.json",),
            "export-synthesizer": ("export/synthesizer/*.safetensors", "export/synthesizer/config.json"),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        return {**self.unit_settings(run), **settings(run.recipe.synthesis)}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        recipe = run.recipe
        # How many draws there are changes none of them.
        return {
            **settings(recipe.synthesis, "tokens", "margin", "tokens_per_draw"),
            "seed": recipe.seed,
            "max_seed_tokens": recipe.max_seed_tokens,
            "max_new_tokens": recipe.max_new_tokens,
            "seed_cut": recipe.tuning.seed_cut,
        }

    def units(self, run: Run) -> list[str]:
        shards = -(-_draws(run) // run.recipe.synthesis.draws_per_shard)
        return [shard_name(index) for index in range(shards)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("synthetic/drafts",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.writing import write_drafts

        target = run.drafts / f"{unit}.jsonl.zst"
        # A shard is always whole: a larger plan then adds shards and changes none.
        begin = int(unit) * run.recipe.synthesis.draws_per_shard
        rows = write_drafts(run, begin, begin + run.recipe.synthesis.draws_per_shard, f"synthesize {unit}")
        files.write_jsonl_zst(target, rows)
        return [target]


def _draws(run: Run) -> int:
    from megatron_sbp.synthesis.draws import planned_draws

    chosen = run.recipe.synthesis
    expected = chosen.tokens_per_draw
    if expected is None:
        expected = files.read_json(run.audit_tokens("pairs_audit"))["pairs"]["mean_target_tokens"]
    return planned_draws(chosen.tokens, chosen.margin, expected)


class FilterStage(Stage):
    """Writes synthetic/NNNNN.jsonl.zst, the drafts that passed every rule, and synthetic/audit.json.

    A unit judges the drafts of one shard one by one; duplicates are found among all of them when the stage closes.
    """

    name = "filter"
    title = "drop loops, copies, duplicates and fragments"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "tokenizer": ("tokenizer/*",),
            "tokenize": ("tokens/real.*",),
            "synthesize": ("synthetic/drafts/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.filter), "shingle_tokens": run.recipe.pairs.shingle_tokens}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        chosen = settings(run.recipe.filter, "duplicates", "duplicate_threshold")
        return {**chosen, "shingle_tokens": run.recipe.pairs.shingle_tokens}

    def units(self, run: Run) -> list[str]:
        return [file.name.removesuffix(".jsonl.zst") for file in sorted(run.drafts.glob("[0-9]*.jsonl.zst"))]

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("synthetic/audit.json", "synthetic/[0-9]*.jsonl.zst", "synthetic/verdicts")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.filter_shards import judge_shard

        target = run.verdicts(unit)
        judge_shard(run, run.drafts / f"{unit}.jsonl.zst", target)
        return [target]

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.filter_shards import write_kept

        return write_kept(run, self.units(run))

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.parent.name == "verdicts"
