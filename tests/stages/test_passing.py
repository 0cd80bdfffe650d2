"""`synthesis.stop: passed`: as many shards as needed, from any process, and a longer run continues with them."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import time

import numpy as np
import pytest
from support.made_once import made_once
from support.synthesis_run import digests, execute_synthesis, run_of

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.passing import rules_digest, target_tokens
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.transformers_engine import TransformersEngine

pytestmark = pytest.mark.timeout(300)
STOP = ("synthesis.stop=passed", "synthesis.margin=1", "synthesis.tokens_per_generation=8", "synthesis.tokens=1_200")
"""Ends before the shards that would be planned: more of a text passes than is expected."""


def synthesize(run, shard=(1, 1)) -> bool:
    return StageRunner(run, SynthesizeStage(), [SynthesizeStage()]).execute(shard)


def passing(run) -> list[int]:
    """Tokens that the filters let pass, shard by shard, from what `judge` says."""
    verdicts = [np.load(run.judged(unit).verdicts) for unit in JudgeStage().units(run)]
    return [int(lengths[verdict == PASSED].sum()) for verdict, lengths, *_ in verdicts]


def texts(run) -> dict[str, str]:
    """Digests of what counts."""
    return {file.name: files.sha256(file) for file in [*run.generation_shards(), run.generated]}


@pytest.fixture(scope="session")
def finished(prepared, tmp_path_factory):
    """A folder with the stage finished by one process. Read only."""

    def make(folder):
        shutil.copytree(prepared, folder, dirs_exist_ok=True)
        assert synthesize(run_of(folder, *STOP))

    return made_once(tmp_path_factory, "stopped", make)


@pytest.fixture
def alone(finished, tmp_path):
    """A copy of it of one's own."""
    shutil.copytree(finished, tmp_path / "alone")
    return run_of(tmp_path / "alone", *STOP)


def test_it_stops_with_the_shard_with_which_enough_has_passed(alone):
    execute_synthesis(alone, "judge")
    passed = passing(alone)
    assert sum(passed) >= target_tokens(alone.recipe) > sum(passed[:-1]) and len(passed) > 1
    told = files.read_json(alone.generated)
    assert [counts[2] for counts in told["passing"]] == passed and told["shards"] == len(passed)
    assert len(list(alone.generations.iterdir())) == len(passed)  # and no counts, nor records
    planned = run_of(alone.root.parent, *STOP, "synthesis.stop=planned")
    assert len(passed) < len(SynthesizeStage().units(planned))


def work(run, index: int) -> None:
    """What one of several workers does, in a process of its own."""
    synthesize(run, (index, 3))


def start(run, *indices: int) -> list:
    processes = multiprocessing.get_context("fork")
    workers = [processes.Process(target=work, args=(run, index)) for index in indices]
    for worker in workers:
        worker.start()
    return workers


def ended(workers) -> None:
    for worker in workers:
        worker.join(200)
        assert worker.exitcode == 0


def test_three_workers_one_of_them_killed_use_the_same_bytes(alone, make_run):
    run = make_run("together", *STOP)
    first, *others = start(run, 1, 2, 3)
    while first.is_alive() and not list(run.generations.glob(".*.unfinished")):
        time.sleep(0.005)
    first.kill()
    first.join()
    ended([*others, *start(run, 1)])
    assert synthesize(run) and texts(run) == texts(alone)
    for each in (run, alone):
        execute_synthesis(each, "judge", "deduplicate", "filter")
    beyond = {name for name in digests(run) if name not in digests(alone)}
    assert all(name.startswith("synthetic/generations/") for name in beyond)
    assert {name: digest for name, digest in digests(run).items() if name not in beyond} == digests(alone)


def test_what_is_beyond_what_is_needed_is_kept_for_a_longer_run(alone, make_run, counted):
    more = STOP[:3]
    run = make_run("beyond", *more, "synthesis.tokens=2_400")
    assert synthesize(run)
    all_of_it, counted["texts"] = texts(run), 0
    shorter = make_run("beyond", *STOP)
    assert synthesize(shorter) and counted["texts"] == 0
    assert texts(shorter) == texts(alone) and len(list(run.generations.glob("0*"))) > len(shorter.generation_shards())
    assert not shorter.aside.exists()
    execute_synthesis(shorter, "judge", "deduplicate", "filter")
    assert len(shorter.synthetic_shards()) == len(alone.generation_shards())
    assert synthesize(run) and texts(run) == all_of_it and counted["texts"] == 0


def hold(run, index: int, begin, go) -> None:
    """What a worker does that writes its first text when `begin` is there, and its last batch when `go` is."""
    real = TransformersEngine.write

    def write(self, generations, prompts):
        while not begin.exists() or (len(generations) < 10 and not go.exists()):
            time.sleep(0.01)
        return real(self, generations, prompts)

    TransformersEngine.write = write
    work(run, index)


@pytest.mark.parametrize(
    "beside",
    [pytest.param((), id="in-place"), pytest.param(("synthesis.temperature=0.9",), marks=pytest.mark.exhaustive)],
)
def test_the_stage_ends_while_another_worker_writes_what_is_not_needed(beside, alone, make_run, counted):
    """Five workers begin a shard each before anything is counted, and four shards suffice."""
    run = make_run("alone" if beside else "busy", *STOP, *beside)
    begin = run.root / "begin"
    processes, workers = multiprocessing.get_context("fork"), []
    for number in range(5):
        workers.append(
            processes.Process(target=hold, args=(run, 1, begin, run.root / "go" if number == 4 else begin), daemon=True)
        )
        workers[-1].start()
        while not list(run.root.rglob(f".{number:05d}.jsonl.zst.unfinished")):
            assert workers[-1].is_alive()
            time.sleep(0.01)
    begin.touch()
    if beside:  # it cannot be put in place while that worker writes
        while len(list(run.root.glob(".work/*/synthetic/generations/0*"))) < 4:
            time.sleep(0.01)
    else:
        ended(workers[:4])
        assert synthesize(run) and texts(run) == texts(alone)
        longer = run_of(run.root.parent, *STOP[:3], "synthesis.tokens=9_000")
        told = SynthesizeStage().pace(longer)
        assert re.search(r"; [\d,]+ of 9,000 tokens passed; written ", told)
        assert re.search(r"; of [\d,]+ in finished shards, \d+\.\d% pass the filters of single texts;", told), told
    (run.root / "go").touch()
    ended(workers)
    assert synthesize(run) and len(run.generation_shards()) == 4
    counted["texts"] = 0
    enough = sum(tokens for _, _, tokens, _ in files.read_json(run.generated)["passing"])
    assert synthesize(run_of(run.root.parent, *STOP[:3], *beside, f"synthesis.tokens={enough + 1}"))
    assert counted["texts"] == 0 and len(run.generation_shards()) == 5


def test_a_longer_run_extends_a_shorter_one(alone, make_run, counted):
    execute_synthesis(alone)
    before, counted["texts"] = texts(alone), 0
    longer = make_run("alone", *STOP[:3], "synthesis.tokens=2_400")
    once = make_run("once", *STOP[:3], "synthesis.tokens=2_400")
    execute_synthesis(longer)
    assert counted["texts"] == 24 * (len(longer.generation_shards()) - (len(before) - 1))
    execute_synthesis(once)
    assert digests(longer) == digests(once)
    del before["generated.json"]
    assert before.items() <= texts(longer).items()


def test_stricter_filters_write_more_and_nothing_again(alone, make_run, counted):
    before = texts(alone)
    strict = make_run("alone", *STOP, "filter.min_tokens=30")
    assert rules_digest(strict) != rules_digest(alone)
    counted["texts"] = 0
    assert synthesize(strict)
    shards = strict.generation_shards()
    assert counted["texts"] == 24 * (len(shards) + 1 - len(before)) > 0
    execute_synthesis(strict, "judge")
    assert sum(passing(strict)) >= target_tokens(strict.recipe) > sum(passing(strict)[:-1])


@pytest.mark.exhaustive
def test_other_texts_are_counted_anew_beside_the_finished_ones(alone, make_run):
    before = texts(alone)
    other = make_run("alone", *STOP, "synthesis.temperature=0.7")
    ended(start(other, 1, 2, 3))
    assert synthesize(other) and texts(other).keys() & before.keys()
    assert all(texts(other)[name] != digest for name, digest in before.items())
    execute_synthesis(other, "judge")
    assert sum(passing(other)) >= target_tokens(other.recipe) > sum(passing(other)[:-1])


def test_a_lost_shard_is_written_again(alone, counted):
    before, counted["texts"] = texts(alone), 0
    alone.generation_shards()[1].unlink()
    assert synthesize(alone) and counted["texts"] == 24 and texts(alone) == before


def test_text_of_which_nearly_nothing_passes_ends_the_stage(make_run):
    run = make_run("strict", *STOP, "filter.min_tokens=49")
    with pytest.raises(InputError, match=r"generations pass, with .*shard 00000: .*too_short.*synthesis\.stop=planned"):
        synthesize(run)
    assert len(list(run.generations.glob("0*"))) == 1


def test_runs_of_earlier_versions_stay_finished(make_run):
    stage = SynthesizeStage()
    plain, counting = make_run("run"), make_run("run", "synthesis.stop=passed")
    assert "stop" not in stage.settings(plain) and stage.settings(counting)["stop"] == "passed"
    assert stage.unit_settings(plain) == stage.unit_settings(counting)
