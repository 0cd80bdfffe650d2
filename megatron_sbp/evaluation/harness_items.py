"""The items of lm-eval's tasks as texts, to be looked for in text that a model trains on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.evaluation.harness import worker_events
from megatron_sbp.evaluation.harness_tasks import check_harness
from megatron_sbp.recipe import Recipe


def write_items(recipe: Recipe, output: Path, log: Path) -> None:
    """Writes every document of the recipe's tasks on which arms are evaluated: what is asked, and the right answer.

    Args:
        recipe: `evaluation.harness` with tasks.
        output: .jsonl.zst, written atomically: rows of `task` and `text`; a group's tasks each by itself.
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


def read_items(file: Path) -> dict[str, list[str]]:
    """What `write_items` wrote: texts by task."""
    found: dict[str, list[str]] = {}
    for row in files.read_jsonl_zst(file):
        found.setdefault(row["task"], []).append(row["text"])
    return found


def _rows(recipe: Recipe, log: Path, counts: dict[str, int]) -> Iterator[dict[str, str]]:
    for event in worker_events({"items": True}, recipe, log):
        if event["event"] == "items":
            counts[event["task"]] = counts.get(event["task"], 0) + len(event["texts"])
            yield from ({"task": event["task"], "text": text} for text in event["texts"])
