"""The items of lm-eval's tasks as texts, to be looked for in text that a model trains on.

An item is a document of a task. It can appear in other text in several forms: the question with the right answer, as
the task puts it; the question alone; and the task's own decontamination query, if it names one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation.harness import worker_events
from megatron_sbp.evaluation.harness_tasks import check_harness
from megatron_sbp.recipe import Recipe


def write_items(recipe: Recipe, output: Path, log: Path) -> None:
    """Writes every document of the recipe's tasks on which arms are evaluated, in the forms that are looked for.

    Args:
        recipe: `evaluation.harness` with tasks.
        output: .jsonl.zst, written atomically: rows of `task`, `text` (what is asked with the right answer), and
            `others` (its other forms); a group's tasks are listed separately.
        log: gets what lm-eval prints.

    Raises:
        InputError: see `check_harness`; lm-eval cannot load a task.
        Fault: the process died.
    """
    check_harness(recipe)
    counts: dict[str, int] = {}
    files.write_jsonl_zst(output, _rows(recipe, log, counts))
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    say(f"task-items: {sum(counts.values()):,} items of {len(counts)} tasks: {told}")


def read_items(file: Path) -> dict[str, list[tuple[str, ...]]]:
    """What `write_items` wrote: the forms of every item, by task. Files of earlier versions have one of each."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in files.read_jsonl_zst(file):
        found.setdefault(row["task"], []).append((row["text"], *row.get("others", ())))
    return found


def _rows(recipe: Recipe, log: Path, counts: dict[str, int]) -> Iterator[JsonObject]:
    for event in worker_events({"items": True}, recipe, log):
        if event["event"] == "items":
            counts[event["task"]] = counts.get(event["task"], 0) + len(event["forms"])
            yield from ({"task": event["task"], "text": one[0], "others": one[1:]} for one in event["forms"])
