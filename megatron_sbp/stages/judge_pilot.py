"""`sbp judge-pilot`: how many of the first generations pass, and so how many are needed."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.counts import named_counts
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.passing import filter_alone, settings_alone
from megatron_sbp.stages.pilot import pilot_names
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis.extension import LEAST_PASSING


class JudgePilotStage(JudgeStage):
    """Filters the pilot's texts, each by itself: synthetic/pilot.json says how many tokens of a generation pass.

    Rules that need all generations (duplicates) or a stage of their own (min_similarity) are left out. Not
    part of `pilot`, which may run in vLLM's environment, and on a GPU.
    """

    name = "judge-pilot"
    asks_like = "judge"
    title = "filter the first generations, to plan how many are needed"
    sharded = False

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        found = super().reads(run)
        for other in ("synthesize", "compare"):
            found.pop(other, None)
        return {**found, "pilot": (usual.pilot_shard("*"),)}

    def settings(self, run: Run) -> JsonObject:
        return settings_alone(run)

    def units(self, run: Run) -> list[str]:
        return ["all"]

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.AUDIT_PILOT,)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        shards = [run.pilot_shard(name) for name in pilot_names(run)]
        found = filter_alone(run, shards)
        written, kept = found["written_per_generation"], found["tokens_per_generation"]
        if kept < LEAST_PASSING * written:
            raise InputError(
                f"{found['passed']:,} of the first {found['generations']:,} generations pass, with "
                f"{kept / written:.1%} of the tokens ({named_counts(found['dropped'])}): most of the work would go "
                f"into text that is dropped. They are in {run.relative(shards[0].parent)}; synthesis.pilot=0 plans by "
                "synthesis.margin, whatever passes",
                key="filter",
            )
        files.write_json(run.pilot_audit, found)
        say(
            f"{self.name}: {found['passed']:,} of the first {found['generations']:,} generations pass the filters, "
            f"{kept:.1f} of {written:.1f} tokens per generation"
        )
        return [run.pilot_audit]
