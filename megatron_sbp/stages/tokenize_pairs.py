"""`sbp tokenize-pairs`: tokens of both documents of every pair, truncated to their limits."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.units import PAIRS_PER_UNIT
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage
from megatron_sbp.stages.tokenize import dataset_files

_DATASETS = {"train": ("pairs", "real"), "valid": ("valid_pairs", "valid")}
"""Names of the pairs and of the documents among the tokens, by split."""


class TokenizePairsStage(Stage):
    """Looks up the tokens of both documents of every pair and cuts them to their limits.

    A unit is a million pairs; `finish` joins their datasets.
    """

    name = "tokenize-pairs"
    title = "tokenize the pairs into Megatron IndexedDatasets, two sequences per pair"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "pairs": (usual.pairs("train"), usual.pairs("valid")),
            "tokenize": (usual.tokens("real"), usual.tokens("valid")),
            "tokenizer": (usual.inside(usual.TOKENIZER),),
        }

    def settings(self, run: Run) -> JsonObject:
        recipe = run.recipe
        return {
            "max_seed_tokens": recipe.max_seed_tokens,
            "max_target_tokens": recipe.max_target_tokens,
            "seed_cut": recipe.tuning.seed_cut,
        }

    def units(self, run: Run) -> list[str]:
        from megatron_sbp.tokenization.pair_parts import count_pairs

        found = []
        for split in _DATASETS:
            # At least one, which reports that there are no pairs.
            count = max(1, -(-count_pairs(run.pairs(split)) // PAIRS_PER_UNIT))
            found += [f"{split}-{number:05d}" for number in range(count)]
        return found

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.token_parts(self.name), *dataset_files("pairs", "valid_pairs"), usual.audit_tokens("pairs_audit"))

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.tokenization.pair_parts import NoPairs, tokenize_pairs
        from megatron_sbp.tokenization.pairs import PairLimits
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        recipe = run.recipe
        split, _, number = unit.partition("-")
        part = run.token_parts(self.name) / unit
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            return tokenize_pairs(
                run.pairs(split),
                run.tokens(_DATASETS[split][1]),
                part,
                load_tokenizer(run.tokenizer),
                PairLimits(recipe.max_seed_tokens, recipe.max_target_tokens, recipe.tuning.seed_cut),
                first=int(number) * PAIRS_PER_UNIT,
                count=PAIRS_PER_UNIT,
                label=f"{self.name} {unit}",
            )
        except NoPairs as error:
            raise InputError(
                f"no pairs among the {split} documents: lower pairs.alpha ({recipe.pairs.alpha}) or take more "
                f"documents (documents.{split} is {getattr(recipe.documents, split):,})",
                file=run.pairs(split),
                key="pairs.alpha",
            ) from error

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.tokenization.pair_parts import merge_pairs
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        written: list[Path] = []
        audit, units, tokenizer = {}, self.units(run), load_tokenizer(run.tokenizer)
        for split, (name, _) in _DATASETS.items():
            parts = [run.token_parts(self.name) / unit for unit in units if unit.startswith(f"{split}-")]
            files_, counts = merge_pairs(run.tokens(name), parts, tokenizer)
            written += files_
            audit[name] = counts.to_dict()
        files.write_json(run.audit_tokens("pairs_audit"), audit)
        return [*written, run.audit_tokens("pairs_audit")]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.token_parts(self.name))
