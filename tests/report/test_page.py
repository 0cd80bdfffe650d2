"""The page: whole, offline, escaped, and true to the numbers."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from support.charts import charts_of
from support.made_up_run import made_up_run
from support.made_up_text import text_run

from megatron_sbp.base import files
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.data import load_report_data as load
from megatron_sbp.report.page import SECTIONS, render
from megatron_sbp.report.results import collect_results as collect
from megatron_sbp.report.text import format_results
from megatron_sbp.report.verdict import headline, verdict
from megatron_sbp.stages.report import report_sources
from megatron_sbp.stages.run_folder import Run

VOID = {"meta", "br", "img", "hr", "link", "input"}


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
    # 2 training plots, ledger, histogram, pair rules, 2 tuning plots, novel n-grams, filters, times
    assert len(charts_of(page)) == 10


def test_nothing_is_loaded_from_anywhere(page):
    parser = parsed(page)
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(parser.tags)
    for tag, name, value in parser.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith("#"), (tag, name, value)
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "@import" not in own and "url(" not in own
    assert "default-src 'none'" in page


def test_only_the_scripts_of_the_page_may_run(page):
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == page.count("<script") == 4 and sum("plotly.js v" in script[:200] for script in scripts) == 1
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert rules == {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{found}'" for found in hashes),
        "style-src": "'unsafe-inline'",
        "img-src": "blob: data:",
    }
    # An HTML parser changes nothing in them, so that what is hashed is what runs.
    assert not re.search(r"[\r\0]|<!--|</script", "".join(scripts), re.IGNORECASE)
    assert page.index("Content-Security-Policy") < page.index("<script")


def test_the_page_without_plotly_is_small(page):
    assert len(re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL).encode()) < 1_000_000


def test_plotly_is_loaded_only_where_a_page_is_written():
    program = "import sys, megatron_sbp.report.page, megatron_sbp.stages.report; print('plotly' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_text_of_documents_is_escaped(run, page):
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    data = load_report_data(run, collect_results(run))
    hostile = '</pre><script>alert("x")</script>&amp;\''
    found = data.synthesizers["related"]
    changed = {"text": hostile, "seed_id": '"><img src=x>', "told": ('"><img src=x>',)}
    found.examples = [replace(example, **changed) for example in found.examples]
    data.synthesizers = {"related": found, '"><img src=y>': replace(found, examples=found.examples[:1], dropped=[])}
    parser = parsed(render(data))
    assert parser.tags.count("script") == 4 and "img" not in parser.tags
    assert "".join(parser.text).count(hostile) == len(found.examples) + 1


def test_examples_are_sixty_different_ones_drawn_by_the_seed(run):
    results = collect_results(run)
    first, second = (load_report_data(run, results).synthesizers["related"].examples for _ in range(2))
    assert first == second and len({example.id for example in first}) == 60
    for example in first:
        assert example.id.startswith("syn-") and example.seed_text


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
    assert "With a wrong seed before the same targets, the loss is 3.6000" in page


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
    losses = next(chart for chart in charts_of(page) if chart.title == "held-out loss over training tokens")
    assert losses.trace("random_pairs")["line"]["color"] == "var(--other1)"
    assert "means over 3 replicates" in page and "SBP against random_pairs" in page
    told = " ".join(verdict(results))
    assert "Against the arm random_pairs, SBP has a lower test loss:" in told and "over 3 replicates" in told
    assert "One training seed" not in told
    assert headline(results).startswith("SBP is ahead of the repetition baseline and the arm random_pairs in test loss")


def test_few_replicates_are_not_a_win(tmp_path):
    """With two replicates the interval is wide: three standard errors are still noise."""
    results = collect_results(made_up_run(tmp_path))
    wide = {"difference": 0.03, "stderr": 0.01, "low": -0.09, "high": 0.15}
    results["comparisons"]["sbp-baseline"]["test_loss"] = wide
    assert headline(results).startswith("SBP cannot be told apart from the repetition baseline in test loss")
    assert any("differ in test loss by no more than the noise" in sentence for sentence in verdict(results))
