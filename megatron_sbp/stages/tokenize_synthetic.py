"""The stage `tokenize-synthetic`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.tokenize import dataset_files, shard_stem, tokenize_shard


class TokenizeSyntheticStage(Stage):
    """Tokenizes the synthetic documents, and checks that the SBP arm has as many tokens as the plan says."""

    name = "tokenize-synthetic"
    title = "tokenize the synthetic documents into a Megatron IndexedDataset"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"filter": ("synthetic/*.jsonl.zst",), "tokenizer": ("tokenizer/*",)}

    def settings(self, run: Run) -> dict[str, Any]:
        return {"needed_tokens": needed_synthetic_tokens(run.recipe)}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        return {}

    def units(self, run: Run) -> list[str]:
        return [shard_stem(shard) for shard in run.synthetic_shards()]

    def owns(self, run: Run) -> tuple[str, ...]:
        return (f"tokens/parts/{self.name}", *dataset_files("synthetic"), "tokens/synthetic_audit.json")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        return tokenize_shard(run, self.name, unit, run.synthetic_shard(unit))

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.tokenization.documents import merge_parts, total_counts

        prefixes = [run.token_parts(self.name) / unit for unit in self.units(run)]
        counts = total_counts(prefixes)
        check_synthetic_tokens(run.recipe, counts["tokens"])
        written, _ = merge_parts(run.tokens("synthetic"), prefixes, run.tokenizer)
        files.write_json(
            run.audit_tokens("synthetic_audit"), {**counts, "needed_tokens": needed_synthetic_tokens(run.recipe)}
        )
        say(f"tokenize-synthetic: {counts['documents']:,} documents, {counts['tokens']:,} tokens")
        return [*written, run.audit_tokens("synthetic_audit")]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.token_parts(self.name))


def needed_synthetic_tokens(recipe: Recipe) -> int:
    """Tokens that tokens/synthetic must have: every sequence of the SBP arm once, and one more token to predict."""
    return ledger.synthetic_samples(recipe) * recipe.model.sequence_length + 1


def check_synthetic_tokens(recipe: Recipe, tokens: int) -> None:
    """Raises InputError when there are fewer synthetic tokens than the SBP arm needs."""
    needed = needed_synthetic_tokens(recipe)
    if tokens >= needed:
        return
    length, margin = recipe.model.sequence_length, recipe.synthesis.margin
    advice = f"lower synthesis.tokens to {max(tokens - 1, 0) // length * length:,}" if tokens > length else ""
    if tokens:
        suggested = -(-10 * 1.05 * margin * needed // tokens) / 10  # 5 % to spare, rounded up to a tenth
        advice = f"raise synthesis.margin to {suggested:g}" + (f", or {advice}" if advice else "")
    else:
        advice = "no synthetic document passed the filters: see synthetic/audit.json"
    raise InputError(
        f"synthesis.tokens {recipe.synthesis.tokens:,} needs {needed:,} synthetic tokens, but with synthesis.margin "
        f"{margin:g} only {tokens:,} are left after the filters; {advice}",
        file=recipe.source,
        key="synthesis.tokens",
    )
