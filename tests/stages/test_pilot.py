"""The stage `pilot`: what the filters leave of the first generations decides how many there are, and changes none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.synthesis_run import execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.cli import main
from megatron_sbp.stages.judge_pilot import JudgePilotStage
from megatron_sbp.stages.pilot import PilotStage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.synthesizer import Synthesizer
from megatron_sbp.synthesis.unfinished import SUFFIX

pytestmark = pytest.mark.timeout(300)
PILOT = "synthesis.pilot=30"  # two shards of 24


def written(run) -> dict[str, tuple[str, int]]:
    return {file.name: (files.sha256(file), file.stat().st_mtime_ns) for file in run.generations.glob("0*")}


def test_as_many_generations_as_the_filters_leave_tokens_of(undisturbed, make_run):
    run = make_run("piloted", PILOT, "synthesis.margin=1.1")
    execute_synthesis(run)
    found = files.read_json(run.pilot_audit)
    judged = np.concatenate([np.load(run.judged(unit).verdicts) for unit in ("00000", "00001")], axis=1)
    passed = judged[1][judged[0] == PASSED]
    assert (found["generations"], found["passed"], found["tokens"]) == (48, len(passed), passed.sum())
    assert found["passed"] < 48 == found["passed"] + sum(found["dropped"].values())
    assert found["tokens_per_generation"] == pytest.approx(passed.sum() / 48)
    assert found["written_per_generation"] == pytest.approx(judged[1].mean())
    each = np.where(judged[0] == PASSED, judged[1], 0)
    assert found["standard_error"] == pytest.approx(each.std(ddof=1) / math.sqrt(48))
    shards = math.ceil(math.ceil(2000 * 1.1 / found["tokens_per_generation"]) / 24)
    ours, usual = written(run), written(undisturbed)
    assert len(ours) == shards > len(usual) == 5  # 25 tokens a generation, as the recipe says, are more than are kept
    assert {name: ours[name][0] for name in usual} == {name: usual[name][0] for name in usual}
    kept = sum(row["tokens"] for shard in run.synthetic_shards() for row in files.read_jsonl_zst(shard))
    assert 0.85 * 2200 < kept < 1.2 * 2200 + 24 * 50


def test_its_shards_are_taken_over(make_run, monkeypatch):
    run, labels, generate = make_run("piloted", PILOT), [], Synthesizer.generate

    def counted(self, planned, *args):
        labels.append(planned[0].name)
        return generate(self, planned, *args)

    monkeypatch.setattr(Synthesizer, "generate", counted)
    execute_synthesis(run, "pilot", "judge-pilot")
    assert len(labels) == 2
    execute_synthesis(run, "synthesize")
    assert len(labels) == len(written(run)) and len(set(labels)) == len(labels)
    for unit in ("00000", "00001"):
        assert run.pilot_shard(unit).read_bytes() == (run.generations / f"{unit}.jsonl.zst").read_bytes()


def test_a_pilot_of_other_weights_is_not_taken_over(make_run):
    run = make_run("piloted", PILOT)
    execute_synthesis(run, "pilot", "judge-pilot", "synthesize")
    right = written(run)
    other = make_run("other", PILOT)
    execute_synthesis(other, "pilot", "judge-pilot")
    shard = other.pilot_shard("00000")
    files.write_json(shard.with_name("00000.json"), {"identity": "of other weights"})
    files.write_jsonl_zst(shard, [{"text": "other"}])
    execute_synthesis(other, "synthesize")
    assert {name: digest for name, (digest, _) in written(other).items()} == {n: d for n, (d, _) in right.items()}


def test_other_filters_write_nothing_again(make_run):
    run = make_run("piloted", PILOT)
    execute_synthesis(run)
    pilot, before = files.sha256(run.pilot_shard("00001")), written(run)
    stamp = run.pilot_shard("00001").stat().st_mtime_ns
    stricter = make_run("piloted", PILOT, "filter.min_tokens=25")
    execute_synthesis(stricter)
    after = written(stricter)
    assert len(after) > len(before) and before.items() <= after.items()
    assert (files.sha256(run.pilot_shard("00001")), run.pilot_shard("00001").stat().st_mtime_ns) == (pilot, stamp)
    execute_synthesis(run)
    assert written(run) == before  # shards that are too many go


def test_settings_without_a_pilot_are_those_of_before(make_run):
    stage, run = SynthesizeStage(), make_run("plain")
    assert not {"pilot", "tokens_that_pass"} & (stage.settings(run).keys() | stage.unit_settings(run).keys())
    piloted = make_run("plain", PILOT)
    assert stage.unit_settings(piloted) == stage.unit_settings(run) and "judge-pilot" not in stage.reads(run)
    assert stage.reads(piloted)["judge-pilot"] == ()


def test_what_changes_the_pilot_and_what_is_said_of_it(make_run):
    pilot, judge, plain = PilotStage(), JudgePilotStage(), make_run("plain", PILOT)
    assert "judge-pilot" not in pilot.reads(plain) and "synthesize" not in judge.reads(plain)
    for change, writes, judges in (
        ("filter.min_tokens=5", False, True),
        ("synthesis.pilot=50", True, False),
        ("synthesis.top_p=0.8", True, False),
        ("synthesis.margin=2", False, False),
        ("synthesis.tokens=3000", False, False),
        ("filter.min_similarity=0.2", False, False),
        ("filter.duplicates=keep", False, False),
        ("synthesis.pilot=48", False, False),
    ):
        other = make_run("plain", PILOT, change)
        assert (pilot.settings(other) != pilot.settings(plain)) == writes, change
        assert (judge.settings(other) != judge.settings(plain)) == judges, change


def test_two_tasks_share_it_and_the_command_line_knows_it(make_run, capsys):
    run, alone = make_run("shared", PILOT), make_run("alone", PILOT)
    execute_synthesis(alone, "pilot", "judge-pilot")
    recipe = str(run.root.parent / "recipe.yaml")
    for stage, *shard in (("pilot", "--shard", "2/2"), ("pilot", "--shard", "1/2"), ("judge-pilot",)):
        assert main([stage, recipe, f"run_folder={run.root}", PILOT, *shard]) == 0
    assert "of the first 48 generations pass the filters" in capsys.readouterr().err
    assert run.pilot_audit.read_bytes() == alone.pilot_audit.read_bytes()


def test_a_larger_pilot_leaves_alone_what_belongs_to_synthesize(make_run):
    """Its unfinished shards, and its plan for more generations."""
    run = make_run("piloted", PILOT)
    unfinished = run.generations / f".00007{SUFFIX}"
    files.write_text(unfinished, "")
    files.write_text(run.more_generations, "{}")
    assert PilotStage().finish(run) == [] and unfinished.exists() and run.more_generations.exists()
    own = run.pilot_shard("").parent / f".00000{SUFFIX}"
    files.write_text(own, "")
    PilotStage().finish(run)
    assert not own.exists()
