"""The page: whole, offline, escaped, and true to the numbers."""

from __future__ import annotations

import html.parser
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_up_run import made_up_run, text_run

from megatron_sbp.base import files
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.data import load_report_data as load
from megatron_sbp.report.page import SECTIONS, render
from megatron_sbp.report.results import collect_results as collect
from megatron_sbp.report.text import format_results
from megatron_sbp.report.verdict import headline, verdict
from megatron_sbp.stages.report import report_sources
from megatron_sbp.stages.run_folder import Run

VOID = {"meta", "br", "line", "rect", "circle", "path", "img", "hr", "link"}


class Parser(html.parser.HTMLParser):
    """Checks that tags close in order, and collects tags, ids and attributes."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.attributes, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1] if self.open else ''}>"
            self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def parsed(page: str) -> Parser:
    parser = Parser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def collect_results(run: Run) -> dict:
    return collect(report_sources(run), run.recipe)


def load_report_data(run: Run, results: dict) -> ReportData:
    return load(report_sources(run), run.recipe, results)


def page_of(run: Run) -> str:
    return render(load_report_data(run, collect_results(run)))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return made_up_run(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(run) -> str:
    return page_of(run)


def test_markup_is_well_formed_and_all_sections_are_there(page):
    parser = parsed(page)
    assert [anchor for anchor, _, _ in SECTIONS if anchor not in parser.ids] == []
    assert len(parser.ids) == len(set(parser.ids))
    assert "Missing:" not in page
    # 2 training plots, ledger, histogram, pair rules, 2 tuning plots, novel n-grams, 2 filter plots, times
    assert parser.tags.count("svg") == 11


def test_nothing_is_loaded_from_anywhere(page):
    parser = parsed(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(parser.tags)
    for tag, name, value in parser.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith("#"), (tag, name, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert re.findall(r"url\((?!#)", page) == []
    assert "default-src 'none'" in page


def test_text_of_documents_is_escaped(run, page):
    assert "<script" not in page
    data = load_report_data(run, collect_results(run))
    hostile = '</pre><script>alert("x")</script>&amp;\''
    for example in data.examples:
        object.__setattr__(example, "synthetic_text", hostile)
        object.__setattr__(example, "seed_id", '"><img src=x>')
    parser = parsed(render(data))
    assert "script" not in parser.tags and "img" not in parser.tags
    assert "".join(parser.text).count(hostile) == len(data.examples)


def test_examples_are_ten_different_ones_drawn_by_the_seed(run):
    results = collect_results(run)
    first, second = load_report_data(run, results).examples, load_report_data(run, results).examples
    assert first == second and len({example.synthetic_id for example in first}) == 10
    for example in first:
        assert example.synthetic_id.startswith("syn-") and example.seed_text


def test_same_run_gives_the_same_page(run, page):
    assert page_of(run) == page


def test_numbers_of_the_run_and_of_the_paper_are_kept_apart(run, page):
    arms = collect_results(run)["arms"]
    before, _, paper_box = page.partition('<div class="paper">')
    for arm in arms.values():
        assert f"{arm['test_loss']:.4f}" in before
    assert "47.66" in paper_box and "47.66" not in before
    assert "not measured here" in paper_box


def test_page_of_a_run_without_training_says_what_is_missing(tmp_path):
    page = page_of(text_run(tmp_path))
    parser = parsed(page)
    for anchor, _, _ in SECTIONS:
        assert anchor in parser.ids
    assert page.count("Missing:") >= 6
    assert "not been evaluated" in page


@pytest.mark.parametrize(
    ("sbp", "oracle", "expected", "sentence"),
    [
        (-0.12, -0.4, "SBP is ahead of the repetition baseline in test loss", "of the oracle's gain over the baseline"),
        (0.2, -0.4, "SBP lost", "none of the oracle's gain"),
        (-0.0, -0.4, "cannot be told apart", ""),
        (-0.1, 0.3, "SBP is ahead of the repetition baseline in test loss", "the oracle is not ahead"),
    ],
)
def test_verdict_follows_the_numbers(tmp_path, sbp, oracle, expected, sentence):
    results = collect_results(made_up_run(tmp_path, sbp=sbp, oracle=oracle))
    assert expected in headline(results)
    told = " ".join(verdict(results))
    assert sentence in told
    assert "One training seed per arm proves nothing" in told
    assert "without an arm on random pairs to compare with" in told


def test_the_random_control_calls_itself_that(run):
    results = collect_results(run)
    results["recipe"]["pairs"]["relation"] = "random"
    assert "This run is the control" in " ".join(verdict(results))


def test_a_synthesizer_from_elsewhere_is_no_bootstrapping(run):
    results = collect_results(run)
    assert "another model's weights" not in " ".join(verdict(results))
    results["recipe"]["tuning"]["start"] = "Qwen3-0.6B"
    assert "another model's weights (tuning.start: Qwen3-0.6B)" in " ".join(verdict(results))


def test_terminal_text(run):
    results = collect_results(run)
    text = format_results(results)
    assert max(map(len, text.splitlines())) < 140
    for arm in results["arms"].values():
        assert f"{arm['test_loss']:.4f}" in text
    assert "gap closed: 30." in text and "recall at k" in text and "209 documents" in text


def test_terminal_text_of_an_unfinished_run(tmp_path):
    assert "gap closed: none (no test loss" in format_results(collect_results(text_run(tmp_path)))


def test_recall_stands_in_the_page_where_questions_were_asked(tmp_path):
    run = made_up_run(tmp_path)
    assert "closed-book recall by" not in render(load_report_data(run, collect_results(run)))
    figures = {"questions": 2, "groups": 2, "recall": 0.5, "stderr": 0.1, "chance": 0.05}
    recall = {**figures, "by_tag": {}, "by_documents": {"0": figures}, "group_credits": [1.0, 0.0]}
    for arm in ("baseline", "sbp", "oracle"):
        evaluation = files.read_json(run.evaluation(arm))
        files.write_json(run.evaluation(arm), {**evaluation, "recall": {**recall, "group_questions": [1, 1]}})
    page = render(load_report_data(run, collect_results(run)))
    assert "closed-book recall by documents in D" in page and "0 (2 questions, chance 5.0" in page
    assert "With a wrong seed in front of the same targets the loss is 3.6000" in page


def test_an_accuracy_below_chance_is_remarked_on(tmp_path):
    results = collect_results(made_up_run(tmp_path))
    assert "below chance" not in " ".join(verdict(results))
    results["arms"]["sbp"] |= {"choice_accuracy": 0.15, "choice_stderr": 0.03}
    told = [sentence for sentence in verdict(results) if "below chance" in sentence]
    assert len(told) == 1 and "sbp is below chance" in told[0] and "15.0\xa0%" in told[0] and "25\xa0%" in told[0]


def test_any_number_of_arms_and_replicates(tmp_path):
    """A control with a color and a sentence of its own, and means over replicates."""
    run = made_up_run(tmp_path)
    results = collect_results(run)
    shown = ("valid_loss", "test_loss", "test_perplexity", "test_bits_per_byte", "choice_accuracy", "recall")
    for arm, figures in results["arms"].items():
        mean = {"mean": figures["test_loss"], "stderr": 0.01, "low": 1.0, "high": 9.0}
        figures |= {"replicates": [{name: figures[name] for name in shown}] * 3, "mean": {"test_loss": mean}}
        assert figures["test_loss"] is not None, arm
    results["replicates"] = 3
    results["arms"]["random_pairs"] = dict(results["arms"]["sbp"])
    nothing = dict.fromkeys(("test_loss", "choice_accuracy", "recall"))
    gain = {"difference": 0.1, "stderr": 0.01, "low": 0.08, "high": 0.12}
    for arm in ("baseline", "sbp", "oracle"):
        results["comparisons"][f"random_pairs-{arm}"] = {**nothing, "test_loss": gain}
        results["comparisons"][f"{arm}-random_pairs"] = {**nothing, "test_loss": gain}
    data = load_report_data(run, results)
    data.metrics["random_pairs"] = data.metrics["sbp"]
    page = render(data)
    parsed(page)
    assert "curve other1" in page and "mean of 3 replicates" in page and "SBP against random_pairs" in page
    told = " ".join(verdict(results))
    assert "SBP has a lower test loss than the arm random_pairs" in told and "of 3 replicates" in told
    assert "One training seed" not in told
    assert headline(results).startswith("SBP is ahead of the repetition baseline and the arm random_pairs in test loss")


def test_few_replicates_are_not_a_win(tmp_path):
    """With two replicates the interval is wide: three standard errors are still noise."""
    results = collect_results(made_up_run(tmp_path))
    wide = {"difference": 0.03, "stderr": 0.01, "low": -0.09, "high": 0.15}
    results["comparisons"]["sbp-baseline"]["test_loss"] = wide
    assert headline(results).startswith("SBP cannot be told apart from the repetition baseline in test loss")
    assert any("differ in test loss by no more than the noise" in sentence for sentence in verdict(results))
