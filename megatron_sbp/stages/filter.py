"""The stage `filter`."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.stages.judge import generation_names
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class FilterStage(Stage):
    """Writes synthetic/NNNNN.jsonl.zst, the raw generations that passed every filter, and synthetic/audit.json.

    A unit is one shard of raw generations.
    """

    name = "filter"
    title = "write the generations that passed every filter, and an audit of the others"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "synthesize": ("synthetic/generations/*",),
            "judge": ("synthetic/judged/verdicts/*",),
            "deduplicate": ("synthetic/repeats.npz",),
        }

    def units(self, run: Run) -> list[str]:
        return generation_names(run)

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("synthetic/audit.json", "synthetic/[0-9]*.jsonl.zst", "synthetic/audits")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.keeping import write_kept

        output, audit = run.synthetic_shard(unit), run.shard_audit(unit)
        write_kept(
            run.generations / f"{unit}.jsonl.zst",
            run.judged(unit).verdicts,
            run.repeats,
            int(unit),
            output,
            audit,
        )
        return [output, audit]

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.keeping import join_audits

        join_audits([run.shard_audit(unit) for unit in self.units(run)], run.audit_synthetic)
        return [run.audit_synthetic]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.parent.name == "audits"
