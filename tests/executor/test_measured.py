"""What a run folder has measured: only what the present recipe and inputs made, of every synthesizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.made_up_text import text_run

from megatron_sbp.base.files import read_json, write_json
from megatron_sbp.executor.measured import read_measured
from megatron_sbp.executor.preflight import plan_run
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.planning import plan
from megatron_sbp.planning.text import format_plan
from megatron_sbp.recipe import Arm, load_recipe
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages.documents import DocumentsStage
from megatron_sbp.stages.graph import all_stages
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name


def measured_run(folder: Path) -> Run:
    """Documents, tokenizer and tokens by the real stages."""
    run = text_run(folder)
    assert StageRunner(run, DocumentsStage(), []).finished()  # the folder is a copy: remembers the corpus' new place
    return run


def test_measured_replaces_estimated(tmp_path):
    """Measurements of a run by the real stages; others of the same names are not used, and the plan says so."""
    run = measured_run(tmp_path)
    found = read_measured(run)
    audit = read_json(run.tokens("audit").with_suffix(".json"))
    assert found == {**audit, "vocab_size": 700}
    made = plan.make_plan(run.recipe, found)
    tokens = audit["real"]["tokens"]
    assert made["unique_tokens"]["real"] == {"documents": 250, "tokens": tokens, "from": "measured"}
    assert made["arms"]["baseline"]["real_epochs"] == made["arms"]["baseline"]["train_tokens"] / tokens
    assert made["model"]["vocab_size"] == {"tokens": 700, "from": "measured"}
    assert made["sources"]["unique tokens of D"] == "measured" and made["sources"]["pairs"] == "at most"
    text = format_plan(made)
    assert "measured here: vocabulary, unique tokens of D, unique tokens of the oracle" in text
    assert "upper bounds: pairs" in text and f"~{made['arms']['baseline']['real_epochs']:.2f}" not in text


@pytest.mark.parametrize(
    "change", ["documents.train=240", "seed=2", "tokenizer.vocab_size=600", "corpus", "audit", "folder"]
)
def test_a_measurement_counts_only_under_its_own_fingerprint(tmp_path, change):
    run = measured_run(tmp_path)
    assert "real" in read_measured(run)
    overrides = [f"run_folder={run.root}"]
    if change == "corpus":
        with open(tmp_path / "corpus.jsonl", "a") as corpus:
            corpus.write('{"text": "one more"}\n')
    elif change == "audit":
        write_json(run.tokens("audit").with_suffix(".json"), {"real": {"documents": 1, "tokens": 1}})
    elif change == "folder":
        run.audit_tokens("audit").unlink()
        run.audit_tokens("audit").mkdir()
    else:
        overrides.append(change)
    other = Run.of(load_recipe(tmp_path / "recipe.yaml", overrides))
    found = read_measured(other)
    assert "real" not in found and "tokens/audit.json" in found["others"]
    made = plan.make_plan(other.recipe, found)
    assert made["unique_tokens"]["real"]["from"] == "estimated"
    assert "tokens/audit.json" in made["warnings"][0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": 1, "outputs": []}', '{"outputs": {"x": 1}}', "\x00"])
def test_a_damaged_manifest_is_no_measurement(tmp_path, text):
    run = measured_run(tmp_path)
    for name in ("documents", "tokenize"):
        (run.manifests / f"{name}.json").write_text(text)
        assert "real" not in read_measured(run)


def test_nothing_is_measured_in_a_folder_that_is_not_there(tmp_path):
    run = measured_run(tmp_path)
    assert read_measured(Run.of(load_recipe(tmp_path / "recipe.yaml", [f"run_folder={tmp_path}/none"]))) is None
    assert read_measured(run) is not None


def test_the_pairs_of_every_synthesizer(mined, helpers, tmp_path):
    """The plan of a second synthesizer is of its own pairs, not of the first one's and not a bound."""
    root = tmp_path / "run"
    shutil.copytree(mined.root, root)
    synthesizers = {"related": Synthesizer(), "random": Synthesizer(pairs={"relation": "random"})}
    arms = {"baseline": Arm(), "sbp": Arm(synthetic="related"), "control": Arm(synthetic="random")}
    run = Run.of(helpers.recipe(root, synthesizers=synthesizers, arms=arms))
    graph = all_stages(run.recipe)
    for name in ("tokenize-pairs", "pairs.random", "tokenize-pairs.random"):
        assert StageRunner(run, by_name(graph, name), graph).execute()
    counts = {}
    for name, audit in (("related", root / "tokens"), ("random", root / "synthesizers" / "random" / "tokens")):
        counts[name] = read_json(audit / "pairs_audit.json")["pairs"]["pairs"]
        assert read_measured(run)["synthesizers"][name]["pairs"]["pairs"] == counts[name]
    made = plan_run(run)
    first, other = made["tuning"], made["synthesizers"]["random"]["tuning"]
    assert (first["pairs"], other["pairs"]) == (counts["related"], counts["random"])
    assert first["from"] == other["from"] == made["sources"]["pairs of random"] == "measured"
    # Its own pairs are damaged: those of the first synthesizer do not take their place.
    (root / "synthesizers" / "random" / "tokens" / "pairs_audit.json").write_text("{}")
    found = read_measured(run)
    assert found["synthesizers"].keys() == {"related"}
    assert found["others"] == ["synthesizers/random/tokens/pairs_audit.json"]
