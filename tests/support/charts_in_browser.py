"""What tests of the page look at and do in a browser: expressions of JavaScript, and gestures on the first chart."""

from __future__ import annotations

import time

from support.chromium import Page

FIRST = "document.querySelector('[data-chart]')"

AXES = f"(({{xaxis, yaxis}}) => [xaxis.range, yaxis.range])({FIRST}._fullLayout)"

OUTSIDE = """[...document.querySelectorAll(".main-svg text")].filter((text) => {
  const chart = text.closest("[data-chart]").getBoundingClientRect(), box = text.getBoundingClientRect();
  return box.width && (box.left < chart.left - 1 || box.right > chart.right + 1 || box.top < chart.top - 1 ||
    box.bottom > chart.bottom + 1);
}).map((text) => text.textContent)"""
"""Texts that leave their chart."""

OVERLAPPING = """[...document.querySelectorAll("[data-chart]")].flatMap((chart) => {
  const kinds = ".xtick text, .ytick text, .xtitle, .ytitle, .legendtext, .annotation-text, .textpoint text";
  const texts = [...chart.querySelectorAll(kinds)].map((text) => [text.textContent, text.getBoundingClientRect()]);
  return texts.flatMap(([one, a], place) => texts.slice(place + 1).filter(([_, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
  ).map(([other]) => `${one} and ${other}`));
})"""
"""Pairs of texts of a chart, one over the other."""

CUT = """[...document.querySelectorAll("#ledger td, #times td")].filter((cell) =>
  cell.getClientRects().length && cell.getBoundingClientRect().right > document.documentElement.clientWidth
).map((cell) => cell.textContent)"""
"""Cells of the tables that fit a phone, beyond the edge of the page."""

WIDE = """[...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth + 1)"""
"""Tables that are wider than the page."""

DRAWN = """[...document.querySelectorAll("[data-chart]")].map((box) =>
  box.querySelectorAll(".main-svg .trace").length)"""
"""Curves and groups of bars of every chart, 0 where it is not drawn."""


def middle_of_the_first_chart(page: Page) -> tuple[float, float]:
    x, y, width = page.value(
        f"(({{x, y, width}}) => [x, y, width])(({FIRST}.scrollIntoView(), {FIRST}).getBoundingClientRect())"
    )
    return x + width / 2, y + 120


def zoom(page: Page) -> None:
    """Drags over a part of the first chart."""
    before = page.value(AXES)
    x, y = middle_of_the_first_chart(page)
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for step in range(1, 5):
        page.mouse("mouseMoved", x + 20 * step, y + 15 * step, button="left", buttons=1)
    page.mouse("mouseReleased", x + 80, y + 60, button="left", clickCount=1)
    assert soon(page, f"{AXES}[0][0] > {before[0][0]} && {AXES}[0][1] < {before[0][1]}")


def double_click(page: Page, axes: list) -> bool:
    """Whether the first chart has these axes after a double click.

    Plotly takes two clicks for one double click within 300 ms, which a busy machine can miss.
    """
    x, y = middle_of_the_first_chart(page)
    for click in (1, 2):
        page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=click)
        page.mouse("mouseReleased", x, y, button="left", clickCount=click)
    return soon(page, f"JSON.stringify({AXES}) === JSON.stringify({axes})".replace("'", '"'), seconds=2)


def soon(page: Page, expression: str, seconds: float = 20) -> bool:
    """Whether an expression becomes true before so many seconds have passed."""
    deadline = time.monotonic() + seconds
    while not (found := page.value(expression)) and time.monotonic() < deadline:
        page.frame()
    return bool(found)
