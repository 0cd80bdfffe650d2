"""The stages `pilot` and `judge-pilot`: how many generations are needed, measured on the first ones."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.passing import filter_alone, settings_alone
from megatron_sbp.stages.run_folder import Run, identity_file, shard_name
from megatron_sbp.stages.synthesize import SynthesizeStage, drop_unfinished
from megatron_sbp.synthesis.extension import LEAST_PASSING


class PilotStage(SynthesizeStage):
    """Writes the first shards of generations: synthetic/pilot/NNNNN.jsonl.zst, which `synthesize` takes over.

    A unit is one shard.
    """

    name = "pilot"
    asks_like = "synthesize"
    units_of_recipe = True

    def __init__(self, about: Synthesizer | None = None, round: int = 1):
        super().__init__(about, round)
        self.title = "write the first generations"

    def counts(self, run: Run) -> bool:
        return False

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        found = super().reads(run)
        del found[JudgePilotStage.name]
        return found

    def settings(self, run: Run) -> JsonObject:
        return {**self.unit_settings(run), "shards": len(self.units(run))}

    def units(self, run: Run) -> list[str]:
        return pilot_names(run)

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.PILOT,)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        output = run.pilot_shard(unit)
        identity = identity_file(output)
        files.write_json(identity, {"identity": self.write(run, unit, output)})
        return [output, identity]

    def finish(self, run: Run) -> list[Path]:
        drop_unfinished(self.folder(run), self.units(run))
        return []

    def folder(self, run: Run) -> Path:
        return run.pilot_shard("").parent


class JudgePilotStage(JudgeStage):
    """Filters the pilot's texts, each by itself: synthetic/pilot.json says how many tokens of a generation pass.

    Rules that need all generations (duplicates) or a stage of their own (min_similarity) are left out. Not part of
    `pilot`, which may run in vLLM's environment, and on a GPU.
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
            fallen = ", ".join(f"{rule} {count:,}" for rule, count in found["dropped"].items() if count)
            raise InputError(
                f"{found['passed']:,} of the first {found['generations']:,} generations pass, with "
                f"{kept / written:.1%} of the tokens ({fallen}): most of the work would go into text that is dropped. "
                f"They are in {run.relative(shards[0].parent)}; synthesis.pilot=0 plans by synthesis.margin, whatever "
                "passes",
                key="filter",
            )
        files.write_json(run.pilot_audit, found)
        say(
            f"{self.name}: {found['passed']:,} of the first {found['generations']:,} generations pass the filters, "
            f"{kept:.1f} of {written:.1f} tokens a generation"
        )
        return [run.pilot_audit]


def pilot_names(run: Run) -> list[str]:
    """Names of the pilot's shards, in order: whole ones, as those of `synthesize` are."""
    chosen = run.recipe.synthesis
    return [shard_name(index) for index in range(-(-chosen.pilot // chosen.generations_per_shard))]
