"""Too few tokens after the filters: the run goes back and writes more, and keeps all that it has."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.synthesis_run import digests, execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import local
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages import extending
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.extending import needed_synthetic_tokens, plan_more, planned_more
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import by_name
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.stages.tokenize_synthetic import TokenizeSyntheticStage

GRAPH = [SynthesizeStage(), JudgeStage(), DeduplicateStage(), FilterStage(), TokenizeSyntheticStage()]
NAMES = [stage.name for stage in GRAPH]
LOOSE = ("filter.unfinished=keep", "filter.max_repetition=1", "filter.max_copying=1", "filter.min_tokens=1")
"""Nearly all texts of the random model pass."""


def short_words() -> tuple[str, ...]:
    return ("synthesis.tokens=900", "synthesis.margin=1", "synthesis.tokens_per_generation=80", *LOOSE)


@pytest.fixture
def short(make_run) -> Run:
    """A run that plans a fraction of the generations that 900 tokens take."""
    return make_run("short", *short_words())


def run_here(run: Run, monkeypatch, discard=(), until=None) -> list[str]:
    """`sbp run` in this process; gives the stages that were started."""
    started = []

    class Here:
        """In place of processes."""

        def __init__(self, run, stage, words, workers, place):
            started.append(stage.name)
            self.stage = stage
            assert StageRunner(run, by_name(GRAPH, stage.name), GRAPH, discard=stage.name in discard).execute()

        def ended(self) -> bool:
            return True

        def check(self) -> None:
            pass

    monkeypatch.setattr(local, "StageProcesses", Here)
    local.run_all(run, GRAPH, ["r"], until=until, discard=discard)
    return started


def inodes(run: Run) -> dict[str, int]:
    """Of the files that belong to one shard."""
    found = [*run.generation_shards(), *run.synthetic_shards(), *run.synthetic.glob("judged/*/*")]
    return {run.relative(path): path.stat().st_ino for path in found}


def test_a_run_goes_back_until_enough_is_there(short, monkeypatch, capsys):
    execute_synthesis(short)
    before, missing = inodes(short), needed_synthetic_tokens(short.recipe)
    assert files.read_json(short.audit_synthetic)["tokens"] < missing
    started = run_here(short, monkeypatch)
    assert started[:4] == NAMES[:4] and started[-5:] == NAMES and len(started) % 4 == 1
    assert files.read_json(short.audit_tokens("synthetic_audit"))["tokens"] >= missing
    assert "more generations are planned" in capsys.readouterr().err
    assert before.items() <= inodes(short).items()  # nothing of the first shards was made again
    assert not short.aside.exists() and run_here(short, monkeypatch) == []


def test_a_run_goes_back_again_and_again(make_run, monkeypatch):
    """Each time there is another plan, and none is taken for a file that somebody changed."""
    run = make_run("run", "synthesis.tokens=2_000", "synthesis.margin=1", "synthesis.tokens_per_generation=100", *LOOSE)
    monkeypatch.setattr(extending, "further_generations", lambda rounds, needed: rounds[-1].generations + 12)
    started = run_here(run, monkeypatch)
    assert started.count("synthesize") > 2 and not run.aside.exists()
    assert len(files.read_json(run.more_generations)["rounds"]) == started.count("synthesize") - 1


def test_the_text_is_that_of_a_run_that_planned_as_many_at_once(short, make_run, monkeypatch):
    run_here(short, monkeypatch)
    shards = len(short.generation_shards())
    at_once = make_run(
        "once", "synthesis.tokens=900", f"synthesis.tokens_per_generation={900 / (24 * shards)}", "synthesis.margin=1",
        *LOOSE,
    )  # fmt: skip
    assert run_here(at_once, monkeypatch) == NAMES
    told = {short.relative(short.more_generations): files.sha256(short.more_generations)}
    assert digests(short) == {**digests(at_once), **told}
    for suffix in (".bin", ".idx"):
        one, other = (run.tokens("synthetic").with_suffix(suffix).read_bytes() for run in (short, at_once))
        assert one == other


def test_costly_work_is_replaced_unasked_where_the_new_contains_it(short, make_run, monkeypatch):
    """Neither the searches for duplicates nor the joint dataset may stop a run that goes back."""
    monkeypatch.setattr(StageRunner, "keep_seconds", -1.0)
    execute_synthesis(short)
    run_here(short, monkeypatch)
    stricter = make_run("short", *short_words(), "filter.duplicates=exact")
    with pytest.raises(InputError, match="--discard"):
        run_here(stricter, monkeypatch)


def test_where_hardly_anything_passes_no_more_is_written(make_run, monkeypatch):
    run = make_run("strict", "filter.min_tokens=49", "synthesis.margin=1")
    with pytest.raises(InputError, match=r"synthesis\.tokens 2,000 needs 1,921 .* only [\d,]+ are left.*(hardly|no )"):
        run_here(run, monkeypatch)
    assert not run.more_generations.exists() and len(run.generation_shards()) == 4


def test_one_stage_at_a_time_says_what_to_do(short):
    execute_synthesis(short)
    with pytest.raises(InputError, match=r"[\d,]+ generations are planned now: the next `sbp run` or `sbp submit`"):
        StageRunner(short, TokenizeSyntheticStage(), GRAPH).execute()
    assert not StageRunner(short, SynthesizeStage(), GRAPH).finished()
    assert StageRunner(short, FilterStage(), GRAPH).finished()


def test_other_filters_forget_what_was_measured_and_fewer_tokens_take_fewer_generations(short, make_run, monkeypatch):
    run_here(short, monkeypatch)
    told = files.read_json(short.more_generations)
    assert "broken_text" not in told["filter"]  # as in plans that were written before there was this key
    assert planned_more(short) == told["generations"] > told["rounds"][0]["generations"]
    assert planned_more(make_run("short", *short_words(), "filter.duplicates=exact")) == 0
    first = told["rounds"][0]
    few = make_run("short", *short_words()[1:], f"synthesis.tokens={first['tokens'] - 129}")
    assert planned_more(few) == first["generations"]


def test_what_was_measured_under_another_function_of_the_users_does_not_count(make_run, monkeypatch):
    """It may keep less of all generations than the former did of the first: as if the latest had given nothing."""
    run = make_run("run", *short_words(), "filter.predicate=keep.py:keep")
    function = run.recipe.folder / "keep.py"
    function.write_text("def keep(batch):\n    return [True] * len(batch)\n")
    run_here(run, monkeypatch)
    before, told = inodes(run), files.read_json(run.more_generations)
    generations = {path: inode for path, inode in before.items() if "generations" in path}
    function.write_text("def keep(batch):\n    return [len(case['text']) % 3 == 0 for case in batch]\n")
    assert planned_more(run) == told["generations"]
    run_here(run, monkeypatch)
    assert files.read_json(run.audit_tokens("synthetic_audit"))["tokens"] >= needed_synthetic_tokens(run.recipe)
    assert generations.items() <= inodes(run).items()
    rounds = files.read_json(run.more_generations)["rounds"]
    assert len(generations) * 24 == rounds[0]["generations"] and rounds[0]["tokens"] < told["rounds"][0]["tokens"]
    del told["predicate"]  # as earlier versions wrote it
    files.write_json(run.more_generations, told)
    function.unlink()
    assert planned_more(run) == told["generations"]


def test_a_new_synthesizer_begins_with_the_plan(short, monkeypatch):
    run_here(short, monkeypatch)
    weights = next(short.export("synthesizer").glob("*.safetensors"))
    manifest = files.read_json(short.manifests / "export-synthesizer.json")
    weights.write_bytes(weights.read_bytes() + b" ")
    manifest["outputs"][short.relative(weights)] = files.describe(weights)
    files.write_json(short.manifests / "export-synthesizer.json", manifest)
    synthesize = StageRunner(short, SynthesizeStage(), GRAPH)
    assert synthesize.missing_units() == ["00000"]
    assert synthesize.execute() and synthesize.finished()


def test_other_texts_begin_with_the_plan(short, make_run, monkeypatch):
    run_here(short, monkeypatch)
    other = StageRunner(make_run("short", *short_words(), "synthesis.temperature=0.5"), SynthesizeStage(), GRAPH)
    assert other.missing_units() == ["00000"]
    assert other.execute() and other.finished() and not short.more_generations.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"filter": 1}', '{"generations": "many"}'])
def test_a_damaged_plan_is_no_plan(short, text):
    files.write_text(short.more_generations, text)
    assert planned_more(short) == 0


def test_planning_twice_says_the_same(short):
    execute_synthesis(short)
    assert plan_more(short) == plan_more(short) == planned_more(short)
    assert len(json.loads(short.more_generations.read_text())["rounds"]) == 1
    assert np.load(short.judged("00000").verdicts).shape[1] == 24
