"""Section of the page: synthetic documents beside their seed documents, and what was dropped, to be searched."""

from __future__ import annotations

from typing import Any

from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import esc, missing, paragraph, section, side_by_side
from megatron_sbp.report.numbers import count

_CHARACTERS = 3000


def examples_section(data: ReportData) -> str:
    """Cards of documents that were kept and of texts that were dropped; search.js filters them."""
    title = "Examples: seed document and what was written for it"
    kept = [
        _card(
            f"{_code(example.synthetic_id)} from {_code(example.seed_id)}: {_code('kept')}",
            side_by_side(
                f"<h3>seed document</h3>{_text(example.seed_text)}",
                f"<h3>synthetic document</h3>{_text(example.synthetic_text)}",
            ),
        )
        for example in data.examples
    ]
    dropped = [
        _dropped(rule, example)
        for rule, examples in ((data.synthetic or {}).get("examples") or {}).items()
        for example in examples
    ]
    if not kept and not dropped:
        return section("examples", title, missing("synthetic documents (stages synthesize and filter)."))
    intro = (
        f"{len(kept)} documents that passed the filters, drawn at random with the run's seed "
        f"({data.recipe.seed}); none was picked by hand. The synthesizer writes what looks plausible to it: none of "
        "this is fact."
    )
    if dropped:
        were = "generation that was" if len(dropped) == 1 else "generations that were"
        intro += f" Then {len(dropped)} {were} dropped, up to ten of each rule."
    search = (
        '<p id="search" hidden><label>Search by text, id, or verdict of the filters '
        '<input type="search" autocomplete="off" spellcheck="false"></label> <output></output></p>'
    )
    return section("examples", title, paragraph(intro), search, *kept, *dropped)


def _dropped(rule: str, example: str | dict[str, Any]) -> str:
    """A generation that a rule dropped; of runs of earlier versions there is its text alone."""
    verdict = _code("dropped, " + rule.replace("_", " "))
    if isinstance(example, str) or "measured" not in example:
        return _card(f"a generation: {verdict}", _text(example if isinstance(example, str) else example["text"]))
    seed = f" from {_code(example['seed_id'])}" if example["seed_id"] else ""
    name = _code(str(example["id"])) if example["id"] is not None else "a generation"
    measured = [
        _measured(other, value, example["limit"] if other == rule else None)
        for other, value in example["measured"].items()
        if value is not None
    ]
    text = _text(example["text"], example["characters"])
    return _card(f"{name}{seed}: {verdict}", paragraph("; ".join(measured), "soft") + text)


def _measured(rule: str, value: float | bool, limit: float | None) -> str:
    """`copying: 0.412 (limit: 0.15)`, as `sbp trace` writes it."""
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    else:
        shown = count(value) if value == int(value) else f"{value:.3f}"
    return f"{rule.replace('_', ' ')}: {shown}" + ("" if limit is None else f" (limit: {limit:g})")


def _card(told: str, markup: str) -> str:
    """An example; without JavaScript all are open."""
    return f'<details class="example" open><summary>{told}</summary>{markup}</details>'


def _code(text: str) -> str:
    return f"<code>{esc(text)}</code>"


def _text(text: str, whole: int = 0) -> str:
    """A text, of which `whole` characters were written, if not all are here."""
    left = max(whole, len(text)) - _CHARACTERS
    more = f" […  {left:,} more characters]" if left > 0 else ""
    return f'<pre tabindex="0">{esc(text[:_CHARACTERS] + more)}</pre>'
