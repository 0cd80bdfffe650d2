"""`sbp task-items`: the items of lm-eval's tasks, for the check of contamination."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.harness_tasks import task_files, task_folder
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class TaskItemsStage(Stage):
    """Writes evaluation_items/tasks.jsonl.zst, the items of lm-eval's tasks. Exists only if `filter.contaminated` is
    set and the recipe names tasks."""

    name = "task-items"
    title = "collect the items of lm-eval's tasks, to look for them in the text"
    version = 2

    def external(self, run: Run) -> list[Path]:
        folder = task_folder(run.recipe)
        return [] if folder is None else task_files(folder)

    def settings(self, run: Run) -> JsonObject:
        return {"tasks": run.recipe.evaluation.harness.tasks}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("evaluation_items",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.evaluation.harness_items import write_items

        write_items(run.recipe, run.task_items, run.log(self.name, "lm-eval"))
        return [run.task_items]
