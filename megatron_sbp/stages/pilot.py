"""`sbp pilot`: the first generations, which show how many are needed."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run, identity_file, shard_name
from megatron_sbp.stages.synthesize import SynthesizeStage


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
        del found["judge-pilot"]
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
        from megatron_sbp.synthesis.unfinished import drop_unfinished

        drop_unfinished(self.folder(run), self.units(run))
        return []

    def folder(self, run: Run) -> Path:
        return run.pilot_shard("").parent


def pilot_names(run: Run) -> list[str]:
    """Names of the pilot's shards, in order: whole ones, as those of `synthesize` are."""
    chosen = run.recipe.synthesis
    return [shard_name(index) for index in range(-(-chosen.pilot // chosen.generations_per_shard))]
