"""The stages that write synthetic documents and filter them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp import files
from megatron_sbp.progress import Progress, say
from megatron_sbp.recipe import settings
from megatron_sbp.run_folder import Run, shard_name
from megatron_sbp.stages import Stage


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

    def owns(self, run: Run) -> list[Path]:
        return [run.drafts]

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
        expected = files.read_json(run.root / "tokens" / "pairs_audit.json")["pairs"]["mean_target_tokens"]
    return planned_draws(chosen.tokens, chosen.margin, expected)


class FilterStage(Stage):
    """Writes synthetic/NNNNN.jsonl.zst, the drafts that passed every rule, and synthetic/audit.json."""

    name = "filter"
    title = "drop loops, copies, duplicates and fragments"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "tokenizer": ("tokenizer/*",),
            "tokenize": ("tokens/real.*",),
            "synthesize": ("synthetic/drafts/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        return {**settings(run.recipe.filter), "shingle_tokens": run.recipe.pairs.shingle_tokens}

    def owns(self, run: Run) -> list[Path]:
        return [*run.synthetic.glob("[0-9]*.jsonl.zst"), run.audit_synthetic]

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        import numpy as np

        from megatron_sbp.synthesis.filters import Dropped, duplicates, first_rule
        from megatron_sbp.tokenization.indexed import open_indexed
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        tokenizer, real = load_tokenizer(run.tokenizer), open_indexed(run.tokens("real"))
        rules, length = run.recipe.filter, run.recipe.pairs.shingle_tokens
        dropped = Dropped()
        kept: list[tuple[int, dict[str, Any]]] = []
        drafts = draft_tokens = finished = 0
        sources = sorted(run.drafts.glob("[0-9]*.jsonl.zst"))
        with Progress("filter", None, "drafts") as progress:
            for number, source in enumerate(sources):
                rows = list(files.read_jsonl_zst(source))
                encoded = tokenizer.encode_batch([row["text"] for row in rows])
                for row, ids in zip(rows, encoded, strict=True):
                    drafts, draft_tokens, finished = (
                        drafts + 1,
                        draft_tokens + row["tokens"],
                        finished + row["finished"],
                    )
                    rule = first_rule(row, rules, np.array(ids, np.int64), real[row["seed_row"]][:-1], length)
                    if rule:
                        dropped.add(rule, row["text"])
                    else:
                        kept.append((number, {**row, "tokens": len(ids) + 1}))
                progress.advance(len(rows))
        repeated = duplicates((row["text"] for _, row in kept), rules)
        for (_, row), again in zip(kept, repeated, strict=True):
            if again:
                dropped.add("duplicate", row["text"])
        kept = [item for item, again in zip(kept, repeated, strict=True) if not again]
        written = []
        for number, source in enumerate(sources):
            target = run.synthetic / source.name
            files.write_jsonl_zst(target, (row for place, row in kept if place == number))
            written.append(target)
        tokens = sum(row["tokens"] for _, row in kept)
        audit = {
            "drafts": drafts,
            "draft_tokens": draft_tokens,
            "finished_share": finished / drafts,
            "kept": len(kept),
            "tokens": tokens,
            "mean_tokens": tokens / len(kept) if kept else 0.0,
            "tokens_per_draw": tokens / drafts,
            "dropped": dropped.counts,
            "examples": dropped.examples,
        }
        files.write_json(run.audit_synthetic, audit)
        say(f"filter: {len(kept):,} of {drafts:,} drafts kept, {tokens:,} tokens; dropped {dropped.counts}")
        return [*written, run.audit_synthetic]
