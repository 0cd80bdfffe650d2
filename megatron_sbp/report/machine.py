"""Sections of the page: time per stage, hardware and versions, the recipe."""

from __future__ import annotations

from typing import Any

from megatron_sbp.base.progress import duration
from megatron_sbp.report.bars import Part, bar_chart
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import esc, figure, folded, missing, paragraph, section, table
from megatron_sbp.report.names import color_of
from megatron_sbp.report.numbers import NOTHING, fixed, percent
from megatron_sbp.report.paper import MARKS


def times_section(data: ReportData) -> str:
    """Wall-clock time of every finished stage: the whole cost, not only the arms' training."""
    title = "Time of each stage"
    stages = data.results["stages"]
    if not stages:
        return section("times", title, missing("no stage has finished (stages/*.json)."))
    seconds = [entry["seconds"] for entry in stages.values()]
    unit, length = ("minutes", 60) if max(seconds) >= 300 else ("seconds", 1)
    colors = [_color(name, list(data.results["arms"])) for name in stages]
    whole = sum(seconds)
    arms = sum(entry["seconds"] for name, entry in stages.items() if name.startswith("train-"))
    chart = bar_chart(
        list(stages),
        [Part("", unit, [round(value / length, 2) for value in seconds], colors)],
        title="time of each stage",
        x_label=unit,
        notes=list(map(duration, seconds)),
    )
    caption = (
        f"Together {duration(whole)}, of which {percent(arms / whole if whole else None, 0)} trained the arms. "
        "Embedding, pairing, tuning and synthesis are outside the arms' token budget; this is what they cost. The "
        "stage that wrote this page is not included."
    )
    return section("times", title, figure(chart, caption))


def _color(stage: str, arms: list[str]) -> str:
    """Name in style.css of the color of a training's bar, also of a replicate's."""
    arm = stage.removeprefix("train-").split(".")[0]
    if arm in arms:
        return color_of(arm, arms)
    return "synthesizer" if stage.split(".")[0] == "tune" else "fill"


def environment_section(data: ReportData) -> str:
    """Versions, hardware and engines; the recipe."""
    found: dict[str, Any] = data.results["environment"]
    rows = [[name, _told(name, value)] for name, value in found.items()]
    engines = [
        [name.replace("_", " "), NOTHING if value is None else str(value)]
        for name, value in data.results["engines"].items()
    ]
    marks = data.recipe.marks
    recipe = f"<pre>{esc(data.recipe_text)}</pre>"
    if marks:
        listed = table(["recipe value", "mark"], [[key, mark] for key, mark in marks.items()])
        recipe = paragraph(f"How certain it is that a value is the paper's: {MARKS}", "soft") + listed + recipe
    return section(
        "environment",
        "Environment and recipe",
        folded(
            "Versions and hardware of the machine that wrote this page", table(["what", "value"], rows, kind="left")
        ),
        folded("Engines", table(["stage", "engine"], engines, kind="left")),
        folded("The recipe, with every default filled in", recipe),
    )


def _told(name: str, value: Any) -> str:
    if value is None or value == []:
        return "none" if name == "gpu" else "not installed" if value is None else NOTHING
    if name == "memory_bytes":
        return f"{fixed(value / 2**30, 1)} GiB"
    return ", ".join(value) if isinstance(value, list) else str(value)
