"""Small pieces of HTML. Every text goes through `esc`; functions that take markup say so."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

# Control characters, lone surrogates, and those that turn the direction of the text around them.
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_PERCENT = re.compile(r"(?<=\d) %")


def esc(text: object) -> str:
    """Text for HTML, attributes included."""
    return html.escape(printable(text), quote=True)


def prose(text: object) -> str:
    """The same of a sentence, in which no line begins with a percent sign."""
    return esc(_PERCENT.sub("\u00a0%", str(text)))


def printable(text: object) -> str:
    """The text; characters that HTML must not have are shown as escapes (\\x1b)."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(kind)}>{prose(text)}</p>"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    kind: str = "",
    row_kinds: Sequence[str] = (),
    column_kinds: Sequence[str] = (),
) -> str:
    """A table in a box of its own that scrolls when the page is narrow. The first column holds row headings.

    Args:
        head: plain text of the heading row.
        rows: plain text, as many cells as `head` each.
        caption: plain text above the table.
        kind: CSS class of the box.
        row_kinds: CSS class of each row.
        column_kinds: CSS class of the cells of each column, the first included.
    """

    def column(number: int) -> str:
        return _class(column_kinds[number]) if number < len(column_kinds) else ""

    body = []
    for place, row in enumerate(rows):
        first, *rest = row
        row_kind = row_kinds[place] if place < len(row_kinds) else ""
        cells = "".join(f"<td{column(number)}>{esc(cell)}</td>" for number, cell in enumerate(rest, 1))
        body.append(f'<tr{_class(row_kind)}><th scope="row">{esc(first)}</th>{cells}</tr>')
    heading = "".join(f'<th scope="col"{column(number)}>{esc(cell)}</th>' for number, cell in enumerate(head))
    # Not a <caption>: that would be as wide as the table and scroll with it.
    title = paragraph(caption, "caption") if caption else ""
    return (
        f'{title}<div class="scroll {esc(kind)}" tabindex="0"><table><thead><tr>{heading}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def section(anchor: str, title: str, *markup: str) -> str:
    """A section of the page, from markup."""
    return f'<section id="{esc(anchor)}"><h2>{esc(title)}</h2>{"".join(markup)}</section>'


def figure(chart: str, caption: str) -> str:
    """A chart (markup) with its caption (plain text) below."""
    return f"<figure>{chart}<figcaption>{prose(caption)}</figcaption></figure>"


def side_by_side(*markup: str) -> str:
    """Columns of equal width where the page is wide enough; each argument is one of them."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in markup)}</div>'


def panels(what: str, named: Mapping[str, str]) -> str:
    """Alternatives of which a reader sees one at a time, such as synthesizers; a single one is shown as it is.

    Args:
        what: plain text before the choice.
        named: markup by name; the first is shown first.
    """
    if len(named) == 1:
        return next(iter(named.values()))
    options = "".join(f"<option>{esc(name)}</option>" for name in named)
    shown = "".join(
        f'<div class="panel"><h3 class="of">{esc(what)} {esc(name)}</h3>{markup}</div>'
        for name, markup in named.items()
    )
    return (
        f'<div class="choice"><p class="choose"><label>{esc(what)} <select>{options}</select></label></p>{shown}</div>'
    )


def folded(title: str, markup: str) -> str:
    """Markup that opens on a click."""
    return f"<details><summary>{esc(title)}</summary>{markup}</details>"


def missing(what: str) -> str:
    """Says what is missing."""
    return paragraph(f"Missing: {what}", "missing")


def _class(kind: str) -> str:
    return f' class="{esc(kind)}"' if kind else ""
