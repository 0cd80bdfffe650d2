"""The stage `tokenize-pairs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.tokenize import dataset_files


class TokenizePairsStage(Stage):
    """Looks up the tokens of both documents of every pair and cuts them to their limits."""

    name = "tokenize-pairs"
    title = "tokenize the pairs into Megatron IndexedDatasets, two sequences per pair"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "pairs": ("pairs/pairs.parquet", "pairs/valid_pairs.parquet"),
            "tokenize": ("tokens/real.*", "tokens/valid.*"),
            "tokenizer": ("tokenizer/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        recipe = run.recipe
        return {
            "max_seed_tokens": recipe.max_seed_tokens,
            "max_target_tokens": recipe.max_target_tokens,
            "seed_cut": recipe.tuning.seed_cut,
        }

    def owns(self, run: Run) -> tuple[str, ...]:
        return (*dataset_files("pairs", "valid_pairs"), "tokens/pairs_audit.json")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.tokenization.indexed import data_file, index_file
        from megatron_sbp.tokenization.pair_files import NoPairs, tokenize_pairs
        from megatron_sbp.tokenization.pairs import PairLimits
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        recipe, tokenizer = run.recipe, load_tokenizer(run.tokenizer)
        limits = PairLimits(recipe.max_seed_tokens, recipe.max_target_tokens, recipe.tuning.seed_cut)
        written, audit = [], {}
        for name, split, documents in (("pairs", "train", "real"), ("valid_pairs", "valid", "valid")):
            prefix = run.tokens(name)
            try:
                audit[name] = tokenize_pairs(
                    run.pairs(split), run.tokens(documents), prefix, tokenizer, limits, label=f"{self.name} {name}"
                )
            except NoPairs as error:
                raise InputError(
                    f"no pairs among the {split} documents: lower pairs.alpha ({recipe.pairs.alpha}) or take more "
                    f"documents (documents.{split} is {getattr(recipe.documents, split):,})",
                    file=run.pairs(split),
                    key="pairs.alpha",
                ) from error
            written += [data_file(prefix), index_file(prefix)]
        files.write_json(run.audit_tokens("pairs_audit"), audit)
        return [*written, run.audit_tokens("pairs_audit")]
