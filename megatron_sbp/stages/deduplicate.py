"""`sbp deduplicate`: finds the raw generations that repeat an earlier one, exactly or nearly."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.judge import generation_names
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class DeduplicateStage(Stage):
    """Finds the generations that repeat an earlier one, among those that passed the other filters.

    A unit is a search: for equal texts, or for near-duplicates by one band of the signatures. The result does not
    depend on the number of processes. Memory of a unit: 40 bytes per generation, at most 4 GB. The duplicates in a
    shard follow from that shard and those before it, so adding generations does not change the files of the others.
    """

    name = "deduplicate"
    version = 2
    title = "find exact and near-duplicates among the generations"
    sharded = True
    units_of_recipe = True
    grows = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        parts = ("digests", "signatures", "bands") if run.recipe.filter.duplicates == "near" else ("digests",)
        return {"judge": tuple(usual.judged(part, "*") for part in parts)}

    def settings(self, run: Run) -> JsonObject:
        rules = run.recipe.filter
        threshold = {"duplicate_threshold": rules.duplicate_threshold} if rules.duplicates == "near" else {}
        return {"duplicates": rules.duplicates, **threshold}

    def units(self, run: Run) -> list[str]:
        from megatron_sbp.synthesis.repeats import searches

        return searches(run.recipe.filter)

    def owns(self, run: Run) -> tuple[str, ...]:
        return (usual.REPEATS, usual.REPEATS_OF_VERSION_1)  # the latter of version 1

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.synthesis.repeats import find_repeats

        shards = [run.judged(name) for name in generation_names(run)]
        count = find_repeats(unit, shards, run.found(unit), run.recipe.filter)
        say(f"deduplicate {unit}: {count:,} generations repeat an earlier one")
        return [run.found(unit)]

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.synthesis.repeats import join_repeats

        names = generation_names(run)
        found, shards = [run.found(unit) for unit in self.units(run)], [run.judged(name) for name in names]
        outputs = [run.repeats(name) for name in names]
        count = join_repeats(found, shards, outputs)
        say(f"deduplicate: {count:,} generations repeat an earlier one")
        return outputs

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.parent == run.found("").parent
