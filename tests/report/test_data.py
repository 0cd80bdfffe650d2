"""What the page reads: nothing more than is there."""

from __future__ import annotations

import json

import yaml
from support.made_up_run import made_up_run, with_a_control
from support.made_up_text import text_run

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
    first = data.synthesizers["related"]
    assert data.metrics.keys() == {"baseline", "sbp", "oracle"} and data.synthesizers.keys() == {"related"}
    rows = [row for (model,) in [*data.metrics.values(), first.metrics] for row in model]
    assert {frozenset(row) for row in rows} == {frozenset(("kind", "iteration", "tokens", "loss"))}  # of millions
    assert first.pairs == files.read_json(run.audit_pairs) and first.synthetic == files.read_json(run.audit_synthetic)
    assert len(first.examples) == 60 and len(first.dropped) == 3 and first.figures["quality"] is not None
    assert yaml.safe_load(data.recipe_text) == json.loads(json.dumps(run.recipe.to_dict()))


def test_a_run_that_has_only_tokens(tmp_path):
    data = load(text_run(tmp_path))
    first = data.synthesizers["related"]
    assert data.documents and data.tokens and first.pairs is None and first.synthetic is None
    assert first.examples == first.dropped == [] and not any(map(any, data.metrics.values()))


def test_everything_of_a_second_replicate_and_of_a_second_synthesizer(tmp_path):
    run = with_a_control(made_up_run(tmp_path))
    data = load(run)
    assert {arm: len(found) for arm, found in data.metrics.items()} == dict.fromkeys(run.recipe.arms, 2)
    assert data.metrics["sbp"][0] != data.metrics["sbp"][1]
    control = data.synthesizers["random"]
    assert control.recipe.pairs.relation == "random" and len(control.metrics) == 2 and all(control.metrics)
    assert len(control.examples) == 20 and control.figures["quality"]["similarity"]["to_seed"] == 0.3
    assert data.results["synthesizers"]["random"]["quality"] == control.figures["quality"]
