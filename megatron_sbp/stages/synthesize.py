"""The stage `synthesize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.recipe import settings
from megatron_sbp.stages.run_folder import Run, shard_name
from megatron_sbp.stages.stage import Stage


class SynthesizeStage(Stage):
    """Writes synthetic/drafts/NNNNN.jsonl.zst: raw generations, one row each, with their parents."""

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
        # The number of generations changes none of them.
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
        from megatron_sbp.synthesis.writing import write_shard

        output = run.drafts / f"{unit}.jsonl.zst"
        # Shards are always whole: a larger plan then adds shards and changes none.
        size = run.recipe.synthesis.draws_per_shard
        begin = int(unit) * size
        write_shard(
            output,
            begin,
            begin + size,
            synthesizer=synthesizer_of(run),
            documents=run.document_shards("train"),
            tokens=run.tokens("real"),
            label=f"synthesize {unit}",
        )
        return [output]


def synthesizer_of(run: Run) -> Any:
    """The synthesizer of a run, loaded."""
    from megatron_sbp.synthesis.synthesizer import Synthesizer
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    recipe = run.recipe
    return Synthesizer(
        run.export("synthesizer"),
        load_tokenizer(run.tokenizer),
        recipe.synthesis,
        max_seed_tokens=recipe.max_seed_tokens,
        max_new_tokens=recipe.max_new_tokens,
        seed_cut=recipe.tuning.seed_cut,
        seed=recipe.seed,
        device=recipe.launch.device,
    )


def _draws(run: Run) -> int:
    from megatron_sbp.synthesis.draws import planned_draws

    chosen = run.recipe.synthesis
    expected = chosen.tokens_per_draw
    if expected is None:
        expected = files.read_json(run.audit_tokens("pairs_audit"))["pairs"]["mean_target_tokens"]
    return planned_draws(chosen.tokens, chosen.margin, expected)
