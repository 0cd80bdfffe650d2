"""The whole page: one HTML text that requests nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from megatron_sbp import __version__
from megatron_sbp.report.corpus import filters_section, ledger_section, pairs_section
from megatron_sbp.report.costs_section import costs_section
from megatron_sbp.report.curves import opening_section, training_section, tuning_section
from megatron_sbp.report.data import ReportData
from megatron_sbp.report.examples_section import examples_section
from megatron_sbp.report.html import esc, paragraph
from megatron_sbp.report.machine import environment_section
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
    ("times", "Cost", costs_section),
    ("environment", "Environment and recipe", environment_section),
)
"""Anchor, name in the navigation, and function of every section, in order."""

NO_SCRIPT = "The charts need JavaScript, which is part of this page and loads nothing. Text and tables work without it."


def render(data: ReportData) -> str:
    """The whole page. It loads nothing: style, charts, and scripts are in it, and a policy forbids the rest."""
    style, *own = (
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("style.css", "choose.js", "charts.js", "search.js")
    )
    scripts = [_plotly(), *own]
    links = "".join(f'<a href="#{anchor}">{esc(name)}</a>' for anchor, name, _ in SECTIONS)
    note = paragraph(data.recipe.note) if data.recipe.note else ""
    intro = (
        "Synthetic bootstrapped pretraining: a synthesizer learns from pairs of related documents to write a new "
        "document for a given one; a model trained on real and synthetic text (SBP) is compared with one that repeats "
        "the real text (baseline) and one that has more real text (oracle), all at the same number of training tokens. "
        "Every number on this page was measured in this run, or computed from what was where it says so, except those "
        "in dashed boxes, which are the paper's."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">'
        f"<title>{esc(data.recipe.name)}: SBP run</title><style>{style}</style></head><body>"
        f"<header><h1>{esc(data.recipe.name)}</h1>{paragraph(intro, 'soft')}{note}"
        f'<nav aria-label="sections">{links}</nav><noscript>{paragraph(NO_SCRIPT, "note")}</noscript></header>'
        f"<main>{headline_box(data)}"
        + "\n".join(build(data) for _, _, build in SECTIONS)
        + f"</main><footer>Written by megatron-sbp {esc(__version__)} from results.json and the audits "
        f"of the run folder.</footer>{''.join(f'<script>{script}</script>' for script in scripts)}</body></html>\n"
    )


def policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts and no others, have its own style, and save a chart as a picture."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    # To save a chart as a png, plotly loads its SVG as an image: from a blob, in Safari from a data URL.
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src blob: data:"


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # takes a tenth of a second: only where a page is written

    return get_plotlyjs()
