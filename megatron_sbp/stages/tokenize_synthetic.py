"""`sbp tokenize-synthetic`: tokenizes the synthetic documents and checks that there are enough tokens."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe import Recipe
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.extending import needed_synthetic_tokens, plan_more
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage
from megatron_sbp.stages.tokenize import dataset_files, shard_stem, tokenize_shard


class TokenizeSyntheticStage(Stage):
    """Tokenizes the synthetic documents, and checks that the SBP arm has as many tokens as the plan says.

    Documents whose rows have the ids that the synthesizer wrote keep them; others are tokenized from their text.
    Shards already tokenized for a smaller plan are taken from its dataset.
    """

    name = "tokenize-synthetic"
    title = "tokenize the synthetic documents into a Megatron IndexedDataset"
    sharded = True
    grows = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"filter": (usual.synthetic_shard(UNIT),), "tokenizer": (usual.inside(usual.TOKENIZER),)}

    def settings(self, run: Run) -> JsonObject:
        return {"needed_tokens": needed_synthetic_tokens(run.recipe)}

    def unit_settings(self, run: Run) -> JsonObject:
        return {}

    def units(self, run: Run) -> list[str]:
        return [shard_stem(shard) for shard in run.synthetic_shards()]

    def owns(self, run: Run) -> tuple[str, ...]:
        audits = (usual.audit_tokens("synthetic_audit"), usual.audit_tokens("synthetic_parts"))
        return (usual.token_parts(self.name), *dataset_files("synthetic"), *audits)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.tokenization.former_parts import cut_part, note_source, source_of

        shard, prefix = run.synthetic_shard(unit), run.token_parts(self.name) / unit
        source = source_of(shard, run.tokenizer)
        written = cut_part(run.tokens("synthetic"), run.audit_tokens("synthetic_parts"), prefix, source)
        written = written or tokenize_shard(run, self.name, unit, shard, written=True)
        return [*written, note_source(prefix, source)]

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.tokenization.documents import merge_parts, total_counts
        from megatron_sbp.tokenization.former_parts import join_sources

        prefixes = [run.token_parts(self.name) / unit for unit in self.units(run)]
        counts = total_counts(prefixes)
        if counts["tokens"] < needed_synthetic_tokens(run.recipe):
            raise too_few_tokens(run.recipe, counts["tokens"], plan_more(run))
        written, _ = merge_parts(run.tokens("synthetic"), prefixes, run.tokenizer)
        files.write_json(
            run.audit_tokens("synthetic_audit"), {**counts, "needed_tokens": needed_synthetic_tokens(run.recipe)}
        )
        say(f"tokenize-synthetic: {counts['documents']:,} documents, {counts['tokens']:,} tokens")
        parts = join_sources(run.audit_tokens("synthetic_parts"), prefixes)
        return [*written, parts, run.audit_tokens("synthetic_audit")]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.token_parts(self.name))


def too_few_tokens(recipe: Recipe, tokens: int, planned: int) -> InputError:
    """The error when there are fewer synthetic tokens than the SBP arm needs.

    Args:
        recipe: the recipe.
        tokens: the number available.
        planned: generations that are planned now, see `plan_more`; 0 where more would not help.
    """
    length = recipe.model.sequence_length
    lower = f"lower synthesis.tokens to {(tokens - 1) // length * length:,}" if tokens > length else ""
    if planned:
        advice = f"{planned:,} generations are planned now: the next `sbp run` or `sbp submit` writes those missing"
    elif tokens:
        advice = (
            "hardly any of the latest generations passed, so more of them would cost much and give little: see in "
            "synthetic/audit.json what drops them, and change the filters"
        )
    else:
        advice = "no synthetic document passed the filters: see synthetic/audit.json"
    return InputError(
        f"synthesis.tokens {recipe.synthesis.tokens:,} needs {needed_synthetic_tokens(recipe):,} synthetic tokens, but "
        f"only {tokens:,} are left after the filters; {advice}{f', or {lower}' if lower else ''}",
        file=recipe.source,
        key="synthesis.tokens",
    )
