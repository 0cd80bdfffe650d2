"""Section of the page: hardware and versions, the recipe."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import esc, folded, paragraph, section, table
from megatron_sbp.report.numbers import NOTHING, fixed
from megatron_sbp.report.paper import MARKS


def environment_section(data: ReportData) -> str:
    """Versions, hardware and engines; the recipe."""
    found: JsonObject = data.results["environment"]
    rows = [["memory" if name == "memory_bytes" else name, _told(name, value)] for name, value in found.items()]
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


def _told(name: str, value: JsonValue) -> str:
    if value is None or value == []:
        return "none" if name == "gpu" else "not installed" if value is None else NOTHING
    if name == "memory_bytes":
        return f"{fixed(value / 2**30, 1)} GiB"
    return ", ".join(value) if isinstance(value, list) else str(value)
