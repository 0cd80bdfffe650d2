"""Examples: each beside its seed document, and what was dropped, with its verdict."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest
from support.made_up_run import made_up_run

from megatron_sbp.report.data import ReportData, load_report_data
from megatron_sbp.report.examples import Example, dropped_examples
from megatron_sbp.report.examples_section import examples_section
from megatron_sbp.report.filter_opinions import Filters
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.report import report_sources


@pytest.fixture
def data(tmp_path) -> ReportData:
    run = made_up_run(tmp_path)
    return load_report_data(report_sources(run), run.recipe, collect_results(report_sources(run), run.recipe))


def test_examples_stand_beside_their_seed_document(data):
    page = examples_section(data)
    found = data.synthesizers["related"].examples
    assert page.count("<code>kept</code>") == len(found) == 60
    one = found[0]
    assert f"<code>{one.id}</code> from <code>{one.seed_id}</code>: <code>kept</code>" in page
    assert page.index(html.escape(one.seed_text)[:200]) < page.index(html.escape(one.text)[:200])
    assert page.count("ended by itself; repetition 0.") == 60
    assert f'<p class="soft measured">filters: {one.told[0]}; ' in page
    assert f"the run's seed ({data.recipe.seed})" in html.unescape(page)


def test_all_are_open_and_the_search_is_hidden_without_javascript(data):
    page = examples_section(data)
    assert page.count('<details class="example"') == page.count(" open>") == page.count("<details") == 63
    assert '<p id="search" hidden>' in page and "<label>" in page


def test_what_was_dropped_has_its_verdict_and_a_bounded_length(data):
    data.synthesizers["related"].dropped = [Example("<i>" + "a" * 5000, verdict="max_repetition")]
    page = examples_section(data)
    assert "<code>dropped, max repetition</code>" in page
    assert "&lt;i&gt;aaa" in page and "2,003 more characters]" in page and "a" * 3000 not in page
    data.synthesizers["related"].dropped = [Example("a" * 600, verdict="copying", characters=1600)]
    assert "1,000 more characters]" in examples_section(data)
    assert "Then 1 generations" not in page and "1 generation that was dropped" in page


def test_what_was_dropped_names_its_seed_and_what_was_measured(data):
    example = {
        "id": "syn-<7>", "seed_id": "doc-3", "limit": 0.15, "text": "a" * 3000, "characters": 4000,
        "measured": {"copying": 0.4123, "too_short": 1234, "unfinished": False, "corpus_copying": None},
    }  # fmt: skip
    filters = Filters(data.recipe.filter, 13)
    data.synthesizers["related"].dropped = dropped_examples(
        {"copying": [example, {"text": "old"}, "older"]}, [], filters
    )
    page = examples_section(data)
    assert "<code>syn-&lt;7&gt;</code> from <code>doc-3</code>: <code>dropped, copying</code>" in page
    limit = f"at most {data.recipe.filter.max_copying:g}"
    assert f"filters: copying 0.412 ({limit}); 1,234 tokens (at least 16); ended by itself</p>" in page
    assert "1,000 more characters]" in page and page.count("a generation: <code>dropped, copying</code>") == 2


def test_nothing_written_yet(data):
    data.synthesizers["related"].examples = data.synthesizers["related"].dropped = []
    assert "Missing: synthetic documents" in examples_section(data)


def test_the_synthesizer_can_be_chosen_where_there_are_several(data):
    assert "<select" not in examples_section(data)
    related = data.synthesizers["related"]
    alone = Example("text", "sample-1-0")
    data.synthesizers = {"related": related, "self": replace(related, examples=[alone], dropped=[])}
    page = examples_section(data)
    assert '<option value="">all</option><option>related</option><option>self</option>' in page
    assert page.count('data-synthesizer="related"') == 63 and page.count('data-synthesizer="self"') == 1
    assert "<code>sample-1-0</code> by <code>self</code>: <code>kept</code>" in page
    assert "synthetic document, written without a seed document" in page
