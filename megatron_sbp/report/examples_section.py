"""Section of the page: synthetic documents beside their seed documents, and what was dropped, to be searched."""

from __future__ import annotations

from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import esc, missing, paragraph, section, side_by_side

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
        _card(f"a generation: {_code('dropped, ' + rule.replace('_', ' '))}", _text(text))
        for rule, texts in ((data.synthetic or {}).get("examples") or {}).items()
        for text in texts
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
        intro += f" Then {len(dropped)} {were} dropped: the first ones of each rule."
    search = (
        '<p id="search" hidden><label>Search by text, id, or verdict of the filters '
        '<input type="search" autocomplete="off" spellcheck="false"></label> <output></output></p>'
    )
    return section("examples", title, paragraph(intro), search, *kept, *dropped)


def _card(told: str, markup: str) -> str:
    """An example; without JavaScript all are open."""
    return f'<details class="example" open><summary>{told}</summary>{markup}</details>'


def _code(text: str) -> str:
    return f"<code>{esc(text)}</code>"


def _text(text: str) -> str:
    more = f" […  {len(text) - _CHARACTERS:,} more characters]" if len(text) > _CHARACTERS else ""
    return f'<pre tabindex="0">{esc(text[:_CHARACTERS] + more)}</pre>'
