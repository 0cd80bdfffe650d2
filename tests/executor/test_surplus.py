"""Units of a larger former plan: kept when costly, left alone while another process writes them."""

from __future__ import annotations

import multiprocessing
import time

import pytest
from support.synthesis_run import digests, execute_synthesis

from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.synthesis.tally import last_tally
from megatron_sbp.synthesis.transformers_engine import TransformersEngine

pytestmark = pytest.mark.timeout(300)


def work(run) -> None:
    """What a worker does, in a process of its own."""
    StageRunner(run, SynthesizeStage(), [SynthesizeStage()]).execute()


@pytest.fixture
def held(make_run, monkeypatch):
    """A run of two shards, and another process that waits in the middle of the second one until a file is there."""
    run, go = make_run("run", "synthesis.tokens=700"), make_run("run").root / "go"
    real, batches = TransformersEngine.write, []

    def slow(self, generations, prompts):
        batches.append(len(generations))
        while len(batches) == 3 + 2 and not go.exists():
            time.sleep(0.01)
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "write", slow)
    worker = multiprocessing.get_context("fork").Process(target=work, args=(run,))
    worker.start()
    monkeypatch.setattr(TransformersEngine, "write", real)
    texts = run.generations / ".00001.jsonl.zst.unfinished"
    while not (texts.exists() and last_tally(texts)):
        assert worker.is_alive()
        time.sleep(0.01)
    yield run, worker, go
    worker.kill()
    worker.join()


def test_a_unit_that_another_process_writes_is_left_alone(held, make_run, capsys):
    run, worker, go = held
    smaller = make_run("run", "synthesis.tokens=400")
    texts = run.generations / ".00001.jsonl.zst.unfinished"
    before = texts.read_bytes()
    work(smaller)
    assert "synthesize: another process is writing 00001, beyond the present plan" in capsys.readouterr().err
    assert texts.read_bytes() == before and not smaller.aside.exists()
    go.touch()
    worker.join(200)
    assert worker.exitcode == 0
    undisturbed = make_run("undisturbed", "synthesis.tokens=700")
    execute_synthesis(undisturbed, "synthesize")
    assert digests(run) == digests(undisturbed)
    execute_synthesis(smaller)  # it is no longer written
    assert [path.name for path in smaller.generations.iterdir()] == ["00000.jsonl.zst"]


def test_what_another_process_writes_beyond_the_plan_is_not_filtered(held, make_run):
    run = held[0]
    smaller = make_run("run", "synthesis.tokens=400")
    work(smaller)
    (run.generations / "00001.jsonl.zst").write_bytes(b"just finished, and in no manifest yet")
    execute_synthesis(smaller, "judge", "deduplicate", "filter")
    assert [path.name for path in smaller.synthetic_shards()] == ["00000.jsonl.zst"]
