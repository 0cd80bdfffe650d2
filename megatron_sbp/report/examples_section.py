"""Section of the page: synthetic documents beside their seed documents, and what was dropped, to be searched."""

from __future__ import annotations

from megatron_sbp.report.data import ReportData
from megatron_sbp.report.examples import KEPT, Example
from megatron_sbp.report.html import esc, missing, paragraph, section, side_by_side

_CHARACTERS = 3000


def examples_section(data: ReportData) -> str:
    """Cards of documents that were kept and of texts that were dropped; search.js filters them."""
    title = "Examples: seed document and what was written for it"
    several = len(data.synthesizers) > 1
    cards = [
        _card(example, name if several else "")
        for name, found in data.synthesizers.items()
        for example in (*found.examples, *found.dropped)
    ]
    if not cards:
        return section("examples", title, missing("synthetic documents (stages synthesize and filter)."))
    kept, dropped = (
        sum(len(getattr(found, kind)) for found in data.synthesizers.values()) for kind in ("examples", "dropped")
    )
    intro = (
        f"{kept} documents that passed the filters, drawn at random with the run's seed ({data.recipe.seed}); none was "
        "picked by hand. The synthesizer writes what looks plausible to it: none of this is fact."
    )
    if dropped:
        were = "generation that was" if dropped == 1 else "generations that were"
        intro += f" Then {dropped} {were} dropped, up to ten of each rule."
    options = "".join(f"<option>{esc(name)}</option>" for name in data.synthesizers)
    choose = f' <label>Synthesizer <select><option value="">all</option>{options}</select></label>' if several else ""
    search = (
        '<p id="search" hidden><label>Search by text, id, or verdict of the filters '
        f'<input type="search" autocomplete="off" spellcheck="false"></label>{choose} <output></output></p>'
    )
    return section("examples", title, paragraph(intro), search, *cards)


def _card(example: Example, synthesizer: str) -> str:
    """An example; without JavaScript all of them are expanded."""
    verdict = KEPT if example.verdict == KEPT else f"dropped, {example.verdict.replace('_', ' ')}"
    name = "a generation" if example.id is None else _code(example.id)
    seed = "" if example.seed_id is None else f" from {_code(example.seed_id)}"
    by = f" by {_code(synthesizer)}" if synthesizer else ""
    written = _text(example.text, example.characters)
    if example.seed_text is not None:
        columns = side_by_side(
            f"<h3>seed document</h3>{_text(example.seed_text)}",
            f"<h3>synthetic document</h3>{written}",
        )
    else:
        columns = written
        if example.verdict == KEPT and example.seed_id is None:
            columns = f"<h3>synthetic document, written without a seed document</h3>{columns}"
    measured = paragraph(f"filters: {'; '.join(example.told)}", "soft measured") if example.told else ""
    return (
        f'<details class="example" data-synthesizer="{esc(synthesizer)}" open>'
        f"<summary>{name}{seed}{by}: {_code(verdict)}</summary>{measured}{columns}</details>"
    )


def _code(text: str) -> str:
    return f"<code>{esc(text)}</code>"


def _text(text: str, whole: int = 0) -> str:
    """A text, of which `whole` characters were written, if not all are here."""
    left = max(whole, len(text)) - min(len(text), _CHARACTERS)
    more = f" […  {left:,} more characters]" if left else ""
    return f'<pre tabindex="0">{esc(text[:_CHARACTERS] + more)}</pre>'
