"""`sbp filter`: writes the generations that passed every filter, and the audit."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.shard_names import NUMBERED
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.extending import plan_more
from megatron_sbp.stages.judge import GENERATIONS, generation_names
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage
from megatron_sbp.synthesis.rule_names import TOKEN_RULES, further_names, rule_names


class FilterStage(Stage):
    """Writes synthetic/NNNNN.jsonl.zst, the raw generations that passed every filter, and synthetic/audit.json.

    A unit is one shard of raw generations.
    """

    name = "filter"
    title = "write the generations that passed every filter, and an audit of the others"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        rules = run.recipe.filter
        parts = ("verdicts", "measures") if further_names(rules) else ("verdicts",)
        looked_up = rules.max_corpus_copying is not None
        return {
            "synthesize": (GENERATIONS,),
            "judge": tuple(usual.judged(part, UNIT) for part in parts),
            "deduplicate": (usual.repeats(UNIT),),
            **({"index-corpus": (usual.CORPUS_INDEX_FILE,)} if looked_up else {}),
        }

    def settings(self, run: Run) -> JsonObject:
        rules = run.recipe.filter
        further = further_names(rules)
        tokens = [name for name in rule_names(rules) if name in TOKEN_RULES]  # they are counted in the audit
        limit = {} if rules.max_corpus_copying is None else {"max_corpus_copying": rules.max_corpus_copying}
        again = {"retokenize": True} if rules.retokenize else {}
        return {
            **({"further_rules": list(further), **limit} if further else {}),
            **({"token_rules": tokens} if tokens else {}),
            **again,
        }

    def units(self, run: Run) -> list[str]:
        return generation_names(run)

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.AUDIT_SYNTHETIC, usual.synthetic_shard(NUMBERED), usual.SHARD_AUDITS)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.dropped_examples import TextMeasures
        from megatron_sbp.synthesis.keeping import write_kept
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        # For the examples in the audit. They are not among what the stage reads: `judge`, which decided by them, reads
        # them, and runs of earlier versions stay filtered.
        measure = TextMeasures(
            lambda: load_tokenizer(run.tokenizer),
            run.tokens("real"),
            run.recipe.filter,
            run.recipe.pairs.shingle_tokens,
        )
        output, audit = run.synthetic_shard(unit), run.shard_audit(unit)
        write_kept(
            run.generation_shard(unit),
            run.judged(unit),
            repeats=run.repeats(unit),
            output=output,
            audit_file=audit,
            rules=run.recipe.filter,
            measure=measure,
        )
        return [output, audit]

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.keeping import join_audits

        audits = [run.shard_audit(unit) for unit in self.units(run)]
        join_audits(audits, run.audit_synthetic, run.recipe.filter, run.corpus_index)
        return [run.audit_synthetic]

    def reopens(self, run: Run) -> str | None:
        return "synthesize" if plan_more(run) else None
