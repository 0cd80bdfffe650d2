"""What a plan costs in all, as text: GPUs, GPU-hours, wall time, arrays."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.planning.assumptions import assumed
from megatron_sbp.planning.numbers import format_bytes, format_hours


def totals(plan: JsonObject) -> list[str]:
    """Lines about the whole run."""
    hardware, total, time = plan["hardware"], plan["total"], plan["time"]
    parts = " + ".join(f"{kind} {format_hours(hours)}" for kind, hours in total["gpu_hours_of"].items() if hours)
    lines = [f"in all      {format_hours(total['gpu_hours'])} {hardware['gpu']}-hours *: {parts}"]
    if time is None:
        return lines
    nodes, each = hardware["nodes"], hardware["gpus"] // hardware["nodes"]
    where = f"{nodes} node{'s' if nodes > 1 else ''} x {each} GPU{'s' if each > 1 else ''} (from the recipe)"
    spans = ", ".join(f"{stage} {span(hours)}" for stage, hours in _distinct(time["stages"]))
    return [
        *lines,
        f"wall time   {where}: {span(time['one_after_another'])} one stage after another,",
        f"            {span(time['side_by_side'])} with nodes for all that can run side by side *",
        *_wrapped(f"{spans}; stages on CPUs and queues not counted", "            "),
    ]


def _distinct(stages: Mapping[str, float]) -> list[tuple[str, float]]:
    """The stages that take a minute or more; arms, which all take the same, as one."""
    found = {("an arm" if stage.startswith("train-") else stage): hours for stage, hours in stages.items()}
    return [(stage, hours) for stage, hours in found.items() if hours >= 1 / 60]


def span(hours: float) -> str:
    """Minutes, hours, or days."""
    if hours < 1:
        return f"{60 * hours:.2g} min"
    if hours >= 2400:
        return f"{hours / 24:,.0f} days"
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} days"


def memory_of(trainings: Mapping[str, Mapping[str, JsonValue]]) -> list[str]:
    """The training runs by the GPU memory that they need, if they differ."""
    by_size: dict[str, list[str]] = {}
    for stage, entry in trainings.items():
        by_size.setdefault(format_bytes(entry["total"]), []).append(stage)
    lines = [_wrapped(f"{size} on a rank: {', '.join(stages)}", "  ") for size, stages in by_size.items()]
    return [line for group in lines for line in group]


def host_memory(found: Mapping[str, Mapping[str, JsonValue]]) -> list[str]:
    """Lines about the memory that jobs need of a machine, largest first; equal needs share a line."""
    by_size: dict[str, list[str]] = {}
    for stage, entry in sorted(found.items(), key=lambda item: -item[1]["job"]):
        last = " (its last step)" if entry["last_step"] > entry["task"] else ""
        name = "a training run" if stage.startswith(("train-", "tune")) else stage.partition(".")[0] + last
        by_size.setdefault(format_bytes(entry["job"]), []).append(name)
    groups = [f"{size} {', '.join(dict.fromkeys(stages))}" for size, stages in by_size.items()]
    return _wrapped("memory of a job on its machine, at least: " + "; ".join(groups), "")


def cpu_time(found: Mapping[str, Mapping[str, JsonValue]]) -> list[str]:
    """Lines about the core-hours of stages on CPUs, and the longest of their tasks."""
    hours: dict[str, float] = {}
    for stage, entry in found.items():
        verb = stage.partition(".")[0]
        hours[verb] = hours.get(verb, 0.0) + entry["core_hours"]
    longest = max(found, key=lambda stage: found[stage]["task_hours"] or 0)
    parts = " + ".join(f"{verb} {format_hours(value)}" for verb, value in hours.items() if value >= 0.1)
    text = (
        f"on CPUs     {format_hours(sum(hours.values()))} core-hours: {parts or 'minutes'}; the longest task is one of "
        f"{longest}, {span(found[longest]['task_hours'] or 0)}"
    )
    return textwrap.wrap(text, 104, subsequent_indent=" " * 12, break_on_hyphens=False)


def arrays(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line about the array tasks of sharded stages, those of the same width together."""
    by_size: dict[tuple[int, int], list[str]] = {}
    for stage, entry in found.items():
        by_size.setdefault((entry["units"], entry["tasks"]), []).append(stage.partition(".")[0])
    groups = [
        f"{units:,} in {tasks:,} ({', '.join(dict.fromkeys(stages))})" for (units, tasks), stages in by_size.items()
    ]
    return _wrapped("units of a stage in array tasks: " + ", ".join(groups), "")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 104, initial_indent=indent, subsequent_indent=indent or "  ", break_on_hyphens=False)


def rates(plan: JsonObject) -> str:
    """The assumptions behind the starred numbers, and whether they were given."""
    hardware = plan["hardware"]
    return (
        f"* on {hardware['gpu']} ({hardware['gpu_from']}: {hardware['peak_flops'] / 1e12:g} TFLOP/s, "
        f"{format_bytes(hardware['device_bytes'])}) at {100 * hardware['mfu']:g} % of it ({hardware['mfu_from']}),\n"
        f"writing {100 * hardware['generation_mfu']:g} % ({hardware['generation_mfu_from']}), checkpoints at "
        f"{format_bytes(assumed('node_write_rate'))}/s a node (assumed). To change them: --gpu, --mfu, --writing-mfu."
    )
