"""The graph of any arms, synthesizers and replicates: what is shared, what is redone, and where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.scopes import ScopedStage, arm_run, replicate_run, synthesizer_run
from megatron_sbp.stages.stage import UNIT, Stage, by_name

TINY = Path(__file__).parents[1] / "end_to_end" / "recipe.yaml"
ARMS = """
synthesizers: {random: {pairs: {relation: random}}, related: {}}
arms: {sbp: {synthetic: related}, control: {synthetic: random}, baseline: {}, oracle: {documents: oracle}}
replicates: 2
"""


@pytest.fixture
def run(tmp_path) -> Run:
    file = tmp_path / "recipe.yaml"
    file.write_text(TINY.read_text() + ARMS)
    return Run.of(load_recipe(file, [f"run_folder={tmp_path}/run"]))


def test_the_classic_graph():
    names = [stage.name for stage in all_stages()]
    assert (
        names
        == (
            "documents tokenizer tokenize embed neighbors pairs tokenize-pairs train-baseline tune export-synthesizer "
            "synthesize judge deduplicate filter tokenize-synthetic scan-corpus train-sbp train-oracle export-arms "
            "evaluate report"
        ).split()
    )
    assert names == [stage.name for stage in all_stages(load_recipe(TINY))]


def test_every_stage_comes_after_what_it_reads_and_owns_its_files_alone(run):
    graph = all_stages(run.recipe)
    names, owners = [], {}
    for stage in graph:
        assert set(stage.reads(run)) <= set(names), stage.name
        names.append(stage.name)
        for pattern in stage.owns(run):
            assert owners.setdefault(pattern, stage.name) == stage.name
    assert len(set(names)) == len(names) == 54
    for stage in graph:  # what is read is what the named stage makes
        for name, patterns in stage.reads(run).items():
            made = [each.split("*")[0] for each in by_name(graph, name).owns(run)]
            for read in (pattern.replace(UNIT, "*").split("*")[0] for pattern in patterns):
                assert any(read.startswith(each) or each.startswith(read) for each in made), (stage.name, read)


def test_a_stage_in_a_scope_says_all_that_the_stage_says(run):
    """What is asked of the wrapper and not passed on would get the answer of a stage that has none."""
    asked = {name for name in vars(Stage) if not name.startswith("_") and callable(getattr(Stage, name))}
    assert asked <= vars(ScopedStage).keys()
    told = {name for name in vars(Stage) if not name.startswith("_")} - asked
    assert told >= {"sharded", "grows", "device"}
    for stage in all_stages(run.recipe):
        if isinstance(stage, ScopedStage):
            assert all(getattr(stage, name) == getattr(stage.stage, name) for name in told - {"name", "title"})


def test_a_training_in_a_scope_shows_where_it_is(run):
    row = {"kind": "train", "iteration": 7, "samples": 56, "tokens": 7168, "loss": 3.25, "tokens_per_second": 900.0}
    metrics = run.root / "replicates/2/models/control/metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    metrics.write_text(json.dumps(row) + "\n")
    control = by_name(all_stages(run.recipe), "train-control.2")
    assert control.progress(run).startswith("step 7, 56 of ") and "loss 3.250, 900 tokens/s" in control.progress(run)
    assert by_name(all_stages(run.recipe), "train-control").progress(run) == ""


def test_what_is_shared_and_what_is_not(run):
    names = [stage.name for stage in all_stages(run.recipe)]
    for once in ("documents", "neighbors", "pairs", "pairs.random", "tokenize-pairs.random", "report"):
        assert names.count(once) == 1 and f"{once}.2" not in names
    for each in ("train-control", "tune.random", "synthesize", "export-arms", "evaluate"):
        assert each in names and f"{each}.2" in names


def test_places(run):
    second = replicate_run(run, 2)
    assert second.relative(second.model("sbp")) == "replicates/2/models/sbp"
    assert second.tokens("real") == run.tokens("real") and second.pairs("train") == run.pairs("train")
    random = synthesizer_run(second, "random")
    assert random.relative(random.generations) == "replicates/2/synthesizers/random/synthetic/generations"
    assert random.relative(random.pairs("train")) == "synthesizers/random/pairs/pairs.parquet"
    assert random.model("baseline") == second.model("baseline")
    control = arm_run(second, "control")
    assert control.tokens("synthetic") == random.tokens("synthetic") != second.tokens("synthetic")
    assert control.model("control") == second.model("control")
    assert synthesizer_run(run, "related").generations == run.generations


def test_a_work_folder_keeps_the_names(run):
    """New outputs of a stage that replaces finished ones are found under the names that they will have."""
    stage = by_name(all_stages(run.recipe), "tune.random.2")
    work = run.root / ".work" / "x"
    view = stage.scoped(run.view(work, stage.owns(run)))
    folder = view.model("synthesizer")
    assert folder == work / "replicates/2/synthesizers/random/models/synthesizer"
    assert view.relative(folder) == "replicates/2/synthesizers/random/models/synthesizer"
    assert view.tokens("pairs") == run.root / "synthesizers/random/tokens/pairs"


def test_a_stage_works_with_its_own_recipe(run):
    graph = all_stages(run.recipe)
    assert by_name(graph, "pairs.random").settings(run)["relation"] == "random"
    assert by_name(graph, "pairs").settings(run)["relation"] == "similar"
    one, two = (by_name(graph, name).settings(run) for name in ("train-control", "train-control.2"))
    assert one["seed"] != two["seed"] and one["samples"] == two["samples"]
    first, second = (by_name(graph, name).settings(run) for name in ("evaluate", "evaluate.2"))
    assert first == second  # the same questions


def test_a_filter_sends_the_run_back_to_its_own_synthesizer(run):
    """And plans in its own folder."""
    told = {"generations": 40, "tokens": 300, "generated_tokens": 400}
    random = synthesizer_run(replicate_run(run, 2), "random")
    files.write_json(random.audit_synthetic, told)
    graph = all_stages(run.recipe)
    assert by_name(graph, "filter.random.2").reopens(run) == "synthesize.random.2"
    assert random.relative(random.more_generations) == "replicates/2/synthesizers/random/synthetic/more.json"
    assert random.more_generations.exists() and not run.more_generations.exists()
    files.write_json(random.audit_synthetic, {**told, "tokens": 10**9})
    assert by_name(graph, "filter.random.2").reopens(run) is None


def test_what_a_stage_says_of_itself_holds_in_every_scope(run):
    graph = all_stages(run.recipe)
    for name in ("deduplicate.random.2", "tokenize-synthetic.random"):
        assert by_name(graph, name).grows
    assert not by_name(graph, "filter.random").grows
