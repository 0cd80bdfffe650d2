"""Tables with figures of every arm: a column per arm, or a row per arm where there would be too many columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.report.html import table
from megatron_sbp.report.names import label_of

MOST_COLUMNS = 5
"""Up to this many arms are columns; more become rows."""


@dataclass(frozen=True)
class Figure:
    """One figure of every arm."""

    label: str
    """Plain text, with the unit."""
    show: Callable[[JsonObject], str]
    """Its text, from the figures of an arm."""
    lead: bool = False
    """Whether it stands out; where arms are rows, such figures come first."""


def arm_table(
    corner: str, arms: Mapping[str, JsonValue], figures: Sequence[Figure], *, caption: str, kind: str = ""
) -> str:
    """Markup of a table of all arms.

    Args:
        corner: heading of the first column.
        arms: figures by arm.
        figures: what is shown of each.
        caption: plain text above the table.
        kind: CSS class.
    """
    if len(arms) <= MOST_COLUMNS:
        return table(
            [corner, *map(label_of, arms)],
            [[figure.label, *map(figure.show, arms.values())] for figure in figures],
            caption=caption,
            kind=kind,
            row_kinds=["lead" if figure.lead else "" for figure in figures],
        )
    shown = {figure.label: [figure.show(found) for found in arms.values()] for figure in figures}
    alike = [label for label, cells in shown.items() if len(set(cells)) == 1]  # a column of its own would say nothing
    ordered = sorted((figure for figure in figures if figure.label not in alike), key=lambda figure: not figure.lead)
    if alike:
        caption += " The same in every arm: " + "; ".join(f"{label} {shown[label][0]}" for label in alike) + "."
    return table(
        [corner, *(figure.label for figure in ordered)],
        [[label_of(arm), *(shown[figure.label][place] for figure in ordered)] for place, arm in enumerate(arms)],
        caption=caption,
        kind=f"turned {kind}".strip(),
        column_kinds=["", *("lead" if figure.lead else "" for figure in ordered)],
    )
