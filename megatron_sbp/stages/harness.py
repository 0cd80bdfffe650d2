"""`sbp harness`: lm-eval's tasks on the export of every arm."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.harness_tasks import task_files, task_folder
from megatron_sbp.recipe import settings
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage


class HarnessStage(Stage):
    """Writes harness/ARM.json. Exists only if the recipe names tasks."""

    name = "harness"
    title = "run lm-eval's tasks on the export of every arm"
    sharded = True
    units_of_recipe = True
    device = "gpu"

    def gpus(self, run: Run) -> int:
        vllm = run.recipe.evaluation.harness.backend == "vllm"
        return run.recipe.synthesis.vllm.tensor_parallel if vllm else 1

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"export-arms": (usual.inside(usual.export(UNIT)),)}

    def external(self, run: Run) -> list[Path]:
        folder = task_folder(run.recipe)
        return [] if folder is None else task_files(folder)

    def settings(self, run: Run) -> JsonObject:
        harness = run.recipe.evaluation.harness
        # The task files count by their contents, see `external`. Which metric leads is for the report.
        left_out = ["task_folder", "metrics", "python", *(["batch_size"] if harness.backend == "vllm" else [])]
        return {**settings(harness, *left_out), "sequence_length": run.recipe.model.sequence_length}

    def units(self, run: Run) -> list[str]:
        return list(run.recipe.arms)

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("harness",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.evaluation.harness import run_harness

        log = run.log(self.name, f"lm-eval-{unit}")
        files.write_json(run.harness(unit), run_harness(run.export(unit), run.recipe, log, f"{self.name}: {unit}"))
        return [run.harness(unit)]
