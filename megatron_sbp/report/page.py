"""The page as a whole: one HTML text without any request to elsewhere."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp import __version__
from megatron_sbp.report.corpus import examples_section, filters_section, ledger_section, pairs_section
from megatron_sbp.report.curves import opening_section, training_section, tuning_section
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.html import esc, paragraph
from megatron_sbp.report.machine import environment_section, times_section
from megatron_sbp.report.outcome import headline_box, results_section, words_section
from megatron_sbp.report.quality import quality_section

SECTIONS = (
    ("overview", "All arms", opening_section),
    ("words", "In words", words_section),
    ("results", "Results", results_section),
    ("curves", "Training curves", training_section),
    ("ledger", "Token ledger", ledger_section),
    ("pairs", "Pairs", pairs_section),
    ("tuning", "Tuning", tuning_section),
    ("quality", "Quality", quality_section),
    ("examples", "Examples", examples_section),
    ("filters", "Filters", filters_section),
    ("times", "Times", times_section),
    ("environment", "Environment and recipe", environment_section),
)
"""Anchor, name in the navigation, and function of every section, in order."""


def render(data: ReportData) -> str:
    """The whole page. It loads nothing: style and plots are in it, and a policy forbids the rest."""
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    links = "".join(f'<a href="#{anchor}">{esc(name)}</a>' for anchor, name, _ in SECTIONS)
    note = paragraph(data.recipe.note) if data.recipe.note else ""
    intro = (
        "Synthetic bootstrapped pretraining: a synthesizer learns from pairs of related documents to write a new "
        "document for a given one; a model trained on real and synthetic text (SBP) is compared with one that repeats "
        "the real text (baseline) and one that has more real text (oracle), all at the same number of training tokens. "
        "Every number on this page was measured in this run, except those in dashed boxes, which are the paper's."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{esc(data.recipe.name)}: SBP run</title><style>{style}</style></head><body>"
        f"<header><h1>{esc(data.recipe.name)}</h1>{paragraph(intro, 'soft')}{note}"
        f'<nav aria-label="sections">{links}</nav></header><main>{headline_box(data)}'
        + "\n".join(build(data) for _, _, build in SECTIONS)
        + f"</main><footer>Written by megatron-sbp {esc(__version__)} from results.json and the audits "
        "of the run folder.</footer></body></html>\n"
    )
