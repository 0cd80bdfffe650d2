"""Section of the page: what every stage cost in time, GPU-hours, and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from megatron_sbp.base.progress import duration
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.planning.numbers import format_hours
from megatron_sbp.report.bars import Part, bar_chart
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import figure, folded, missing, section, side_by_side, table
from megatron_sbp.report.names import color_of
from megatron_sbp.report.numbers import NOTHING, count, percent

_MOST_BARS = 20
"""Stages in the chart, the longest ones: an experiment can have hundreds."""

_TOLD = (
    "Measured: wall time, and compute time, which is that of all processes that shared a stage. Computed by the "
    "formulas of sbp plan: FLOPs, of the sequences that a training run read and of the tokens that were generated; of "
    "prompts, embedded documents, and exact search from their number and mean length. Of evaluation, those of "
    "reading the held-out sequences and the continuations, without closed-book recall and the quality sheet: a lower "
    "bound. Of ScaNN, an estimate from the vectors that a query is compared with. 0: the stage runs no model. Planned "
    "FLOPs are what sbp plan estimates; a tuning may end before. Stages without FLOPs have no formula (lm-eval)."
)


def costs_section(data: ReportData) -> str:
    """Time, GPU-hours, and FLOPs of every finished stage: the whole cost, not only the arms' training."""
    title, stages = "Cost of each stage", data.results["stages"]
    if not stages:
        return section("times", title, missing("no stage has finished (stages/*.json)."))
    verbs: dict[str, list[JsonObject]] = {}
    for name, entry in stages.items():
        verbs.setdefault(_verb(name), []).append(entry)
    hours = [entry.get("gpu_hours") for entry in stages.values()]
    on_gpus = any(hours)
    told = _TOLD if on_gpus else f"{_TOLD} {'GPUs were not noted.' if None in hours else 'No stage used a GPU.'}"
    rows = [_row("all stages", list(stages.values()), on_gpus)]
    if len(verbs) == len(stages):
        rows += [_row(name, [entry], on_gpus) for name, entry in stages.items()]
        return section("times", title, side_by_side(_chart(data), _table(rows, on_gpus, told)))
    rows += [_row(f"{verb} ({len(them)})" if len(them) > 1 else verb, them, on_gpus) for verb, them in verbs.items()]
    each = _table([_row(name, [entry], on_gpus) for name, entry in stages.items()], on_gpus, "")
    return section(
        "times",
        title,
        side_by_side(
            _chart(data),
            _table(rows, on_gpus, f"In brackets, how many stages are added up: arms, synthesizers, replicates. {told}"),
        ),
        folded(f"Each of the {len(stages)} stages", each),
    )


def _verb(stage: str) -> str:
    """What a stage does, whatever its arm, synthesizer, or replicate."""
    return "train" if stage.startswith("train-") else stage.split(".")[0]


def _table(rows: Sequence[Sequence[str]], on_gpus: bool, caption: str) -> str:
    head = ["stage", "wall time", "compute time", *(["GPU-hours"] if on_gpus else []), "FLOPs", "planned"]
    return table(head, rows, caption=caption, kind="fits", row_kinds=["lead"] if caption else [])


def _row(label: str, entries: Sequence[Mapping[str, JsonValue]], on_gpus: bool) -> list[str]:
    seconds, compute, hours, flops, planned = (
        _sum(entries, key) for key in ("seconds", "unit_seconds", "gpu_hours", "flops", "planned_flops")
    )
    # Of a GPU run, none of the stages without GPUs has hours.
    gpu = [format_hours(hours) if hours else NOTHING] if on_gpus else []
    times = [NOTHING if value is None else duration(value).replace(" ", "\u00a0") for value in (seconds, compute)]
    return [label, *times, *gpu, *map(_flops, (flops, planned))]


def _flops(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1e}" if value else "0"


def _sum(entries: Sequence[Mapping[str, JsonValue]], key: str) -> float | None:
    """Of the known values; None without any."""
    known = [entry[key] for entry in entries if entry.get(key) is not None]
    return sum(known) if known else None


def _chart(data: ReportData) -> str:
    stages, arms = data.results["stages"], list(data.results["arms"])
    whole = sum(entry["seconds"] for entry in stages.values())
    of_arms = sum(entry["seconds"] for name, entry in stages.items() if name.startswith("train-"))
    longest = sorted(stages, key=lambda name: -stages[name]["seconds"])[:_MOST_BARS]
    shown = [name for name in stages if name in longest]
    seconds = [stages[name]["seconds"] for name in shown]
    unit, length = ("minutes", 60) if max(seconds) >= 300 else ("seconds", 1)
    chart = bar_chart(
        shown,
        [Part("", unit, [round(value / length, 2) for value in seconds], [_color(name, arms) for name in shown])],
        title="time of each stage",
        x_label=unit,
        notes=list(map(duration, seconds)),
    )
    caption = (
        f"Together {duration(whole)}, of which {percent(of_arms / whole if whole else None, 0)} trained the arms. "
        "Embedding, pairing, tuning and synthesis are outside the arms' token budget; this is what they cost. The "
        "stage that wrote this page is not included."
    )
    if len(shown) < len(stages):
        rest = sum(entry["seconds"] for entry in stages.values()) - sum(seconds)
        caption = (
            f"The {len(shown)} longest of {count(len(stages))} stages; the others took {duration(rest)}. {caption}"
        )
    return figure(chart, caption)


def _color(stage: str, arms: list[str]) -> str:
    """Name in style.css of the color of a training run's bar, also of a replicate's."""
    arm = stage.removeprefix("train-").split(".")[0]
    if arm in arms:
        return color_of(arm, arms)
    return "synthesizer" if stage.split(".")[0] == "tune" else "fill"
