"""The page in a real browser: it draws, obeys its own policy, fits, and can be searched."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.charts_in_browser import (
    AXES,
    CUT,
    DRAWN,
    FIRST,
    OUTSIDE,
    OVERLAPPING,
    WIDE,
    double_click,
    middle_of_the_first_chart,
    soon,
    zoom,
)
from support.chromium import Chromium, Page, install_chromium
from support.made_up_run import made_up_run, with_a_control

from megatron_sbp.report.data import ReportData, load_report_data
from megatron_sbp.report.page import SECTIONS, render
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.report import report_sources

pytestmark = pytest.mark.slow

ARMS = ("noise", "decay_04", "decay_08", "first", "share_10", "<b>bold</b>", "w")

CHARTS, HIDDEN = 10, 6
"""Of the first synthesizer and of what has none; of the other synthesizer."""

EXAMPLES, OF_CONTROL = 86, 23


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ReportData:
    run = with_a_control(made_up_run(tmp_path_factory.mktemp("browser")))
    sources = report_sources(run)
    found = load_report_data(sources, run.recipe, collect_results(sources, run.recipe))
    # As every run has them; the longest heading of a row.
    hubs = {"mean": 2.8, "largest": 8, "share_of_top_percent": 0.03, "hubs": [{"id": "bio-12345"}]}
    found.synthesizers["related"].pairs["train"]["seeds_per_target"] = hubs
    # The widest table beside another.
    looked_up = {"documents": 19_842, "mean": 0.01451, "standard_error_at_limit": 0.036, "sampled": 0.25}
    found.synthesizers["related"].synthetic["measured"] = {"corpus_copying": looked_up}
    return found


@pytest.fixture(scope="module")
def small(data, tmp_path_factory) -> Path:
    """The page of a made-up run."""
    written = tmp_path_factory.mktemp("small") / "index.html"
    written.write_text(render(data))
    return written


@pytest.fixture(scope="module")
def file(small, data, tmp_path_factory) -> Path:
    """The same with ten arms: seconds of drawing."""
    results = data.results
    for place, arm in enumerate(ARMS):
        large = {"real": 48_828_125, "synthetic": 12_207_031}  # 200B tokens of 4,096
        results["arms"][arm] = {**results["arms"]["sbp"], "planned_samples": large, "consumed_samples": large}
        data.metrics[arm] = [[row | {"loss": row["loss"] + 0.05 * place} for row in data.metrics["sbp"][0]]]
        for other in results["arms"]:
            for pair in (f"{arm}-{other}", f"{other}-{arm}"):
                results["comparisons"].setdefault(pair, results["comparisons"]["sbp-baseline"])
    written = tmp_path_factory.mktemp("page") / "index.html"
    written.write_text(render(data))
    return written


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    install_chromium()
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def kept(browser, small) -> Page:
    return browser.page(small)


@pytest.fixture
def shared(kept) -> Page:
    """One page for the tests that leave it as it was."""
    kept.send("Page.bringToFront")  # those behind are not drawn
    return kept


@pytest.fixture
def page(browser, small) -> Iterator[Page]:
    with browser.page(small) as opened:
        yield opened


@pytest.fixture(scope="module")
def large(browser, file) -> Iterator[Page]:
    """One page with many arms, for the tests that leave it as it was."""
    with browser.page(file) as opened:
        yield opened


def assert_wide_tables_scroll(page: Page) -> None:
    """By keyboard, with a shadow at the edge that says so."""
    first = f"{WIDE}.find((box) => box.closest('#results'))"
    assert page.value(f"!!{first}")
    assert page.value(f"{WIDE}.every((box) => getComputedStyle(box).backgroundAttachment.endsWith('scroll, scroll'))")
    page.value(f"{first}.focus()")
    page.key("ArrowRight")
    assert soon(page, f"{first}.scrollLeft > 0")


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1280, False, id="wide-light"),
        pytest.param(390, True, id="narrow-dark"),
        pytest.param(1280, True, id="wide-dark", marks=pytest.mark.exhaustive),
        pytest.param(390, False, id="narrow-light", marks=pytest.mark.exhaustive),
    ],
)
def test_every_chart_is_drawn_and_nothing_overflows(browser, file, width, dark):
    with browser.page(file, width, dark=dark) as page:
        drawn = page.value(DRAWN)
        assert len(drawn) == CHARTS + HIDDEN and sum(number > 0 for number in drawn) == CHARTS
        assert page.value(CUT) == []
        if width < 500:
            assert_wide_tables_scroll(page)
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value(OUTSIDE) == [] and page.value(OVERLAPPING) == []
        assert page.errors() == []


def test_the_page_asks_for_nothing(shared):
    assert shared.value("performance.getEntriesByType('resource').length") == 0


def test_what_the_policy_does_not_know_does_not_run(page):
    page.value("document.body.append(Object.assign(document.createElement('script'), {text: 'window.broken = 1'}))")
    assert page.value("window.broken") is None and "script-src" in page.errors()[0]


def test_markup_in_the_name_of_an_arm_is_shown(large):
    assert large.value(f"{FIRST}.querySelector('.legend').textContent.includes('<b>bold</b>')")


def test_dark_mode_changes_the_colors_and_keeps_the_zoom(page):
    color = "document.querySelector('.scatterlayer .js-line').style.stroke"
    assert page.value(color) == "rgb(0, 114, 178)"
    zoom(page)
    zoomed = page.value(AXES)
    page.color_scheme(True)
    assert soon(page, f"{color} === 'rgb(86, 180, 233)'") and page.value(AXES) == zoomed


def test_no_value_is_cut_where_two_columns_have_room(shared):
    assert shared.value("innerWidth") == 1280
    cells = "[...document.querySelectorAll('.columns .panel:not([hidden]) td, .panel:not([hidden]) .columns td')]"
    assert shared.value(f"{cells}.some((cell) => cell.textContent === '2.8, 8 (bio-12345)')")
    assert shared.value(f"{WIDE}.filter((box) => box.closest('.columns')).map((box) => box.textContent)") == []


def test_charts_follow_the_width_of_the_page(large):
    large.send("Page.bringToFront")
    large.resize(390)
    assert soon(large, f"{FIRST}.querySelector('.main-svg').clientWidth < 380")
    assert soon(large, "document.documentElement.scrollWidth <= 390") and large.value(OUTSIDE) == []
    large.resize(1280)
    assert soon(large, f"{FIRST}.querySelector('.main-svg').clientWidth > 500")


def test_paper_is_light_and_fits(browser, file):
    printed = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    with browser.page(file, dark=True) as page:
        page.send("Emulation.setEmulatedMedia", **printed)
        assert soon(page, "document.querySelector('.scatterlayer .js-line').style.stroke === 'rgb(0, 114, 178)'")
        assert page.value("getComputedStyle(document.querySelector('.modebar')).display") == "none"
        assert len(page.send("Page.printToPDF")["data"]) > 100_000 and page.errors() == []


def test_hover_says_the_value_and_the_arm(shared):
    x, y = middle_of_the_first_chart(shared)
    for step in range(40):  # down along a vertical line, until a curve is near
        shared.mouse("mouseMoved", x, y - 90 + 5 * step)
        shared.frame()
        if shared.value(f"{FIRST}.querySelectorAll('.hovertext').length"):
            break
    told = shared.value(f"[...{FIRST}.querySelectorAll('.hovertext text')].map((text) => text.textContent)")
    names = shared.value(f"{FIRST}.data.map((trace) => trace.name)")
    of = {f"{name}, replicate {number}" for name in names for number in (1, 2)}
    assert any(" at " in text for text in told) and set(map(html.escape, told)) & of


def test_a_drag_zooms_a_double_click_resets_and_the_wheel_scrolls_the_page(page):
    before = page.value(AXES)
    x, y = middle_of_the_first_chart(page)
    at = page.value("scrollY")
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=150)
    assert soon(page, f"scrollY > {at}") and page.value(AXES) == before
    zoom(page)
    assert any(double_click(page, before) for _ in range(10))


def test_a_legend_item_toggles_its_curve(shared):
    box = f"{FIRST}.querySelector('.legendtoggle').getBoundingClientRect()"
    x, y = shared.value(f"(({{x, y}}) => [x + 30, y + 8])(({FIRST}.scrollIntoView(), {box}))")
    for state in ("legendonly", True):
        shared.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        shared.mouse("mouseReleased", x, y, button="left", clickCount=1)
        assert soon(shared, f"{FIRST}._fullData[0].visible === {state!r}".replace("True", "true"))


def test_the_keyboard_passes_the_charts_by(shared):
    shared.value("document.querySelector('#verdict').scrollIntoView()")
    for _ in range(30):
        shared.key("Tab")
        assert not shared.value("!!document.activeElement.closest('[data-chart]')")
    assert shared.value("document.activeElement !== document.body")


def test_a_finger_scrolls_the_page(small):
    install_chromium()
    browser = Chromium(touch=True)
    try:
        page = browser.page(small, 390)
        page.send("Emulation.setTouchEmulationEnabled", enabled=True)
        x, y = middle_of_the_first_chart(page)
        at, before = page.value("scrollY"), page.value(AXES)
        page.swipe(x, y, 100)
        assert soon(page, f"scrollY > {at}") and page.value(AXES) == before
        assert page.value("document.querySelectorAll('.modebar-btn').length") == 0
    finally:
        browser.close()


def test_a_chart_can_be_saved_as_a_picture(shared):
    png = shared.value(f"Plotly.toImage({FIRST}, {{format: 'png'}})")
    assert png.startswith("data:image/png;base64,") and len(png) > 10_000 and shared.errors() == []


def test_the_search_filters_by_text_id_and_verdict(shared):
    shown = "[...document.querySelectorAll('details.example')].filter((card) => !card.hidden)"
    count = "document.querySelector('#search output').value"
    field = "document.querySelector('#search input')"
    assert shared.value(count) == f"{EXAMPLES} of {EXAMPLES} shown"
    assert shared.value(f"{shown}.filter((card) => card.open).length") == 10
    one = shared.value("document.querySelector('details.example code').textContent")
    for words, number in ((one, 1), ("DROPPED unfinished", 6), ("no such word anywhere", 0), ("", EXAMPLES)):
        shared.value(f"({field}.focus(), {field}.select())")
        shared.type(words) if words else shared.key("Delete")
        assert shared.value(count) == f"{number} of {EXAMPLES} shown", words
        assert shared.value(f"{shown}.length") == number, words
    shared.value("document.querySelector('#search select').focus()")
    of_first = EXAMPLES - OF_CONTROL
    for key, number in (("ArrowDown", of_first), ("ArrowDown", OF_CONTROL), ("ArrowUp", of_first)):
        shared.key(key)
        assert soon(shared, f"{count} === '{number} of {number} shown'"), shared.value(count)
    shared.key("ArrowUp")
    assert shared.errors() == []


def test_the_synthesizer_is_chosen_by_keyboard_and_its_charts_are_drawn(shared):
    assert shared.value("document.querySelectorAll('.panel:not([hidden])').length") == 4
    shared.value("document.querySelector('#tuning select').focus()")
    shared.key("ArrowDown")
    shown = "document.querySelector('#tuning .panel:not([hidden])')"
    assert soon(shared, f"{shown}.querySelectorAll('.main-svg .trace').length >= 5")
    assert shared.value(f"{shown}.querySelector('h3').textContent") == "synthesizer random"
    assert shared.value(f"getComputedStyle({shown}.querySelector('h3')).display") == "none"
    assert shared.value(f"{DRAWN}.filter((number) => number).length") == CHARTS + 2
    shared.key("ArrowUp")
    assert soon(shared, f"{shown}.querySelector('h3').textContent.endsWith('related')") and shared.errors() == []


def test_without_javascript_texts_and_tables_are_there_and_the_page_says_what_is_not(browser, file):
    page = browser.page(file, scripts=False)
    document = page.send("DOM.getDocument", depth=-1)["root"]["nodeId"]

    def visible(selector: str) -> list[bool]:
        """Of each element, whether it has a box."""
        found = []
        for node in page.send("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"]:
            drawn = page.send("CSS.getComputedStyleForNode", nodeId=node)["computedStyle"]
            found.append({entry["name"]: entry["value"] for entry in drawn}["display"] != "none")
        return found

    page.send("CSS.enable")
    assert visible("noscript p") == [True] and visible("#search") == [False] and visible(".choose") == [False] * 4
    assert visible("details.example[open]") == [True] * EXAMPLES and all(visible(".panel")) and all(visible("table"))


def test_every_link_of_the_navigation_leads_to_its_section(page):
    """Clicked with the mouse: the address names the section, which stands at the top, or the page has ended."""
    names = page.value("[...document.querySelectorAll('nav a')].map((link) => link.hash)")
    assert names == [f"#{anchor}" for anchor, _, _ in SECTIONS]
    for name in names:
        page.value("(scrollTo(0, 0), true)")
        link = f"document.querySelector('nav a[href=\"{name}\"]')"
        x, y = page.value(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({link}.getClientRects()[0])")
        for kind in ("mousePressed", "mouseReleased"):
            page.mouse(kind, x, y, button="left", clickCount=1)
        told = f"""(() => {{
          const section = document.querySelector({name!r}), box = section.getBoundingClientRect();
          const left = document.documentElement.scrollHeight - innerHeight - scrollY;
          return [location.hash, box.top, left, Boolean(section.querySelector("h2"))];
        }})()"""
        until = time.monotonic() + 5
        while (found := page.value(told))[0] != name or not (abs(found[1]) < 40 or found[2] < 2):
            assert time.monotonic() < until, (name, found)
            time.sleep(0.02)
        assert found[3] and found[1] < page.value("innerHeight"), (name, found)
