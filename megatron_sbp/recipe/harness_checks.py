"""Checks of `evaluation.harness`. Whether the tasks exist is checked by `evaluation.harness_tasks`."""

from __future__ import annotations

from megatron_sbp.recipe.sections import Recipe

SECTION = "evaluation.harness"


def check_harness_section(recipe: Recipe) -> None:
    """Raises InputError if tasks are named twice or without a folder, or another key names an unknown task."""
    harness = recipe.evaluation.harness
    if not harness.tasks:
        return
    for name in harness.tasks:
        if harness.tasks.count(name) > 1:
            raise recipe.error(f"{SECTION}.tasks", f"names '{name}' twice")
        if not name.strip():
            raise recipe.error(f"{SECTION}.tasks", "has an empty name")
    if harness.task_folder is None or not harness.task_folder.strip():
        raise recipe.error(f"{SECTION}.task_folder", "is required with tasks: it holds their files")
    for name in harness.shots:
        if name not in harness.tasks:
            raise recipe.error(f"{SECTION}.shots", f"'{name}' is not among the tasks: {', '.join(harness.tasks)}")
