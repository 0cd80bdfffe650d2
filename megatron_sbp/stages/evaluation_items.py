"""The texts on which arms are evaluated, which synthetic text should not contain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.evaluation.questions import read_questions
from megatron_sbp.planning.units import has_task_items
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run

if TYPE_CHECKING:
    from megatron_sbp.overlap.contamination import Item


def evaluation_items(run: Run) -> dict[str, Sequence[Item]]:
    """Every question with its true answer, every document of the test split, and every item of lm-eval's tasks in the
    forms of `read_items`, by `questions`, `test documents`, and the name of the task.

    Raises:
        InputError: see `read_questions`.
    """
    from megatron_sbp.evaluation.harness_items import read_items

    questions = [f"{one.prompt} {one.choices[one.answer]}" for one in read_questions(run.recipe)]
    documents = [row["text"] for shard in run.document_shards("test") for row in files.read_jsonl_zst(shard)]
    tasks = read_items(run.task_items) if item_reads(run) else {}
    return {"questions": questions, "test documents": documents, **tasks}


def item_reads(run: Run) -> dict[str, tuple[str, ...]]:
    """Inputs of a stage that looks for lm-eval's items: see `Stage.reads`. Nothing if the recipe names no tasks."""
    return {"task-items": (usual.inside(usual.TASK_ITEMS),)} if has_task_items(run.recipe) else {}
