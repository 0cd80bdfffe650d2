"""What the page reads: nothing more than is there."""

from __future__ import annotations

import json

import yaml
from support.made_up_run import made_up_run, text_run

from megatron_sbp.base import files
from megatron_sbp.report.data import load_report_data
from megatron_sbp.report.results import collect_results
from megatron_sbp.stages.report import report_sources


def load(run):
    sources = report_sources(run)
    return load_report_data(sources, run.recipe, collect_results(sources, run.recipe))


def test_a_whole_run(tmp_path):
    run = made_up_run(tmp_path)
    data = load(run)
    assert data.metrics.keys() == {"baseline", "sbp", "oracle", "synthesizer"} and all(data.metrics.values())
    rows = [row for model in data.metrics.values() for row in model]
    assert {frozenset(row) for row in rows} == {frozenset(("kind", "iteration", "tokens", "loss"))}  # of millions
    assert data.pairs == files.read_json(run.audit_pairs) and data.synthetic == files.read_json(run.audit_synthetic)
    assert len(data.examples) == 60
    assert yaml.safe_load(data.recipe_text) == json.loads(json.dumps(run.recipe.to_dict()))


def test_a_run_that_has_only_tokens(tmp_path):
    data = load(text_run(tmp_path))
    assert data.documents and data.tokens and data.pairs is None and data.synthetic is None
    assert data.examples == [] and not any(data.metrics.values())
