"""Tables of what lm-eval measured, for the page and for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.report.arm_table import Figure, arm_table
from megatron_sbp.report.html import paragraph, table
from megatron_sbp.report.names import label_of
from megatron_sbp.report.numbers import NOTHING, count, percent, percent_with_error, signed, spread_note, with_error


def harness_tables(results: JsonObject) -> str:
    """Markup: every task of every arm, and what was gained over the baseline; nothing where lm-eval did not run."""
    harness = results["harness"]
    if harness is None:
        return ""
    replicates = results["replicates"] > 1
    by_arm: JsonObject = {arm: {"tasks": {}, "mean": None} for arm in results["arms"]}
    figures = []
    for name, task in harness["tasks"].items():
        for arm in by_arm:
            by_arm[arm]["tasks"][name] = task["arms"].get(arm)
        shots = "" if task["shots"] is None else f"{task['shots']}-shot, "
        metrics = dict.fromkeys([task["metric"], *(key for found in task["arms"].values() for key in found or ())])
        for metric in metrics:
            label = f"{name}, {metric} ({shots}{count(task['samples'])} documents)"
            figures.append(Figure(label, partial(_cell, name, metric), lead=metric == task["metric"]))
    mean = harness["mean"]
    if mean is not None:
        for arm in by_arm:
            by_arm[arm]["mean"] = mean["arms"].get(arm)
        label = f"mean of {len(mean['tasks'])} tasks" + (", over the replicates" if replicates else "")
        figures.append(Figure(label, lambda arm: _value(arm["mean"], True), lead=True))
    caption = (
        f"Benchmark tasks, run by lm-eval {harness['lm_eval']} ({harness['backend']}, {harness['precision']}). ± is "
        "one standard error over documents" + (", of the first replicate" if replicates else "") + "."
    )
    caption += spread_note(figure.show(arm) for figure in figures for arm in by_arm.values())
    if harness["limit"] is not None:
        caption += f" Only the first {count(harness['limit'])} documents of each task: not the benchmark's figures."
    return arm_table("benchmark tasks", by_arm, figures, caption=caption) + _gains(results, harness)


def _is_share(harness: JsonObject, name: str) -> bool:
    return bool(harness["mean"] and name in harness["mean"]["tasks"])


def _cell(name: str, metric: str, arm: JsonObject) -> str:
    found = (arm["tasks"][name] or {}).get(metric)
    return _value(found, bool(found and found["accuracy"]))


def _value(found: Mapping[str, JsonValue] | None, is_share: bool) -> str:
    """56.2 % ± 2.1, or 12.3456 ± 0.1234."""
    if found is None:
        return NOTHING
    if not is_share:
        return with_error(found["value"], found["stderr"], 4)
    return percent_with_error(found["value"], found["stderr"], (found.get("low"), found.get("high")))


def _gains(results: JsonObject, harness: JsonObject) -> str:
    others = [arm for arm in results["arms"] if arm != "baseline"]
    if "baseline" not in results["arms"] or not others:
        return ""
    rows, reasons = [], []
    named = [(name, task, _is_share(harness, name)) for name, task in harness["tasks"].items()]
    if harness["mean"] is not None:
        named.append((f"mean of {len(harness['mean']['tasks'])} tasks", harness["mean"], True))
    for name, found, is_share in named:
        share = found["gap_closed"]
        cells = [_interval(found["comparisons"].get(f"{arm}-baseline"), is_share) for arm in others]
        rows.append([name, *cells, NOTHING if share is None else _share(found)])
        if share is None:
            reasons.append(found["gap_closed_reason"])
    caption = (
        "Gains over the repetition baseline on the same documents, positive is better: percentage points of accuracy, "
        "nats of a perplexity (per word, byte, or target); in brackets, the 95 % interval over documents"
        + (" and replicates" if results["replicates"] > 1 else "")
        + ". The share is how much of the oracle's gain SBP reaches."
    )
    told = paragraph(f"No share: {'; '.join(reasons)}.", "soft") if reasons else ""
    return table(["gains", *map(label_of, others), "share"], rows, caption=caption) + told


def _interval(found: JsonObject | None, is_share: bool) -> str:
    if found is None:
        return NOTHING
    scale, digits = (100, 1) if is_share else (1, 4)
    ends = [] if found["low"] is None else [signed(scale * found[end], None, digits) for end in ("low", "high")]
    return signed(scale * found["difference"], None, digits) + (f" [{', '.join(ends)}]" if ends else "")


def _share(found: JsonObject) -> str:
    low, high = found["gap_closed_low"], found["gap_closed_high"]
    return percent(found["gap_closed"]) + ("" if low is None else f" [{percent(low)}, {percent(high)}]")


def harness_lines(results: JsonObject) -> list[str]:
    """The same for a terminal, in one line: the mean of the tasks, or each task where there is no mean."""
    harness = results["harness"]
    if harness is None:
        return []
    lines = []
    if harness["mean"] is None:
        for name, task in harness["tasks"].items():
            cells = {arm: (found or {}).get(task["metric"]) for arm, found in task["arms"].items()}
            first = ", first replicate" if results["replicates"] > 1 else ""
            lines.append(f"lm-eval, {name} ({task['metric']}{first}): {_told(cells, False)}")
        return lines
    mean = harness["mean"]
    share = mean["gap_closed"]
    gap = f"none ({mean['gap_closed_reason']})" if share is None else _share(mean)
    what = ", ".join(mean["tasks"])
    return [f"lm-eval, mean of {what}: {_told(mean['arms'], True)}; gap closed: {gap}"]


def _told(cells: Mapping[str, JsonValue], is_share: bool) -> str:
    return ", ".join(f"{label_of(arm)} {_value(found, is_share)}" for arm, found in cells.items())
