"""What Slurm's clients say about jobs and their tasks: states, nodes, and the jobs that they wait for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FAILED = ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "PREEMPTED")
"""Slurm states that mean the job failed."""

OF_SQUEUE = "%F_%K %T %r|%E|%N"
"""Its --format for `tasks_by_job`."""

OF_SACCT = "JobID,State,NodeList"
"""Its fields for `accounted`."""

_NO_NODES = ("(null)", "None assigned", "None")


@dataclass(frozen=True)
class Task:
    """A task of a job as Slurm shows it."""

    number: str
    """Empty without an array."""
    state: str
    after: tuple[str, ...] = ()
    """Jobs on which it still depends."""
    nodes: str = ""
    """As Slurm writes them: `node[1-2]`."""


def tasks_by_job(lines: Iterable[str]) -> dict[str, list[Task]]:
    """Tasks by the number of their job, from lines `NUMBER STATE REASON|DEPENDENCIES|NODES`."""
    found: dict[str, list[Task]] = {}
    for line in lines:
        told, after, nodes = (*line.strip().split("|"), "", "")[:3]
        number, _, state = told.partition(" ")
        if number and state:
            job, _, task = number.partition("_")
            name, _, reason = state.partition(" ")
            waits = f" ({reason})" if name == "PENDING" and reason not in ("", "None") else ""
            found.setdefault(job, []).append(
                Task(
                    task,
                    name + waits,
                    tuple(re.findall(r":(\d+)", after)) if name == "PENDING" else (),  # afterok:12_*(unfulfilled)
                    "" if nodes in _NO_NODES else nodes,
                )
            )
    return found


def accounted(text: str) -> dict[str, list[Task]]:
    """The same from what sacct says, fields separated by `|`."""
    rows = (line.split("|") for line in text.splitlines())
    return tasks_by_job(f"{' '.join(row[:2])}||{''.join(row[2:])}" for row in rows)


def state_of(tasks: Sequence[Task], array: bool) -> str:
    """The state of a job, of an array how many tasks have which."""
    if not tasks:
        return "gone from the queue"
    if not array:
        return tasks[0].state
    return ", ".join(f"{state} {count}" for state, count in sorted(Counter(task.state for task in tasks).items()))


def failed_of(tasks: Sequence[Task]) -> tuple[int, ...]:
    """Tasks of an array that failed, ascending."""
    return tuple(sorted(int(task.number) for task in tasks if task.number.isdecimal() and task.state in FAILED))


def nodes_of(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The nodes of every task that failed on any."""
    return tuple(task.nodes for task in tasks if task.nodes and task.state in FAILED)


def waits_of(tasks: Sequence[Task], stages: Mapping[str, str]) -> tuple[str, ...]:
    """Jobs for which any of the tasks waits, with their stages as far as these are known."""
    after = dict.fromkeys(number for task in tasks for number in task.after)
    return tuple(f"job {number} ({stages[number]})" if number in stages else f"job {number}" for number in after)
