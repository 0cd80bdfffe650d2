"""The stages synthesize and filter: workers, interruptions and a larger plan change no byte."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from support.synthesis_run import digests, execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.synthesis.tally import last_tally
from megatron_sbp.synthesis.transformers_engine import TransformersEngine
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.tokenization.written_ids import unpack_ids

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]


def start(run, stage: str, shard: str) -> subprocess.Popen:
    """`sbp STAGE RECIPE --shard i/n` in a process of its own."""
    recipe = run.root.parent / "recipe.yaml"
    words = [sys.executable, "-m", "megatron_sbp", stage, str(recipe), f"run_folder={run.root}", "--shard", shard]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def work(run, index: int, batch: int | None = None, seconds: float = 0) -> None:
    """What one of two workers does, in a process of its own. It is killed so many seconds after it has begun its batch
    of this number; 0 is the start of the process, and without one it ends by itself."""
    write, begun = TransformersEngine.write, 0
    death = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    death.daemon = True

    def counting(self, generations, prompts):
        nonlocal begun
        begun += 1
        if begun == batch:
            death.start()
        return write(self, generations, prompts)

    if batch == 0:
        death.start()
    TransformersEngine.write = counting
    StageRunner(run, SynthesizeStage(), [SynthesizeStage()]).execute((index, 2))


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(3, 9))])
def test_ten_random_kills_of_two_workers_change_no_byte(undisturbed, make_run, seed):
    run, draw = make_run("disturbed", "synthesis.batch_size=4"), random.Random(seed)
    processes = multiprocessing.get_context("fork")  # torch is loaded already: a start takes a moment, as a kill does
    workers: dict[int, BaseProcess] = {}

    def start_worker(index: int, mortal: bool) -> None:
        death = (draw.randrange(4), draw.uniform(0, 0.04)) if mortal else ()  # a batch takes as long
        workers[index] = processes.Process(target=work, args=(run, index, *death), daemon=True)
        workers[index].start()

    start_worker(1, True)
    start_worker(2, True)
    left = []
    while workers:
        ended = multiprocessing.connection.wait([worker.sentinel for worker in workers.values()], 200)
        index = next(index for index, worker in workers.items() if worker.sentinel in ended)
        workers[index].join()
        if workers[index].exitcode == -signal.SIGKILL:
            left.append(sum(tally.texts for tally in map(last_tally, run.generations.glob(".*.unfinished")) if tally))
            start_worker(index, len(left) + 1 < 10)
        else:
            assert workers.pop(index).exitcode == 0
    assert len(left) == 10 and len(set(left)) > 2, left  # at different places, and in half-written shards
    StageRunner(run, SynthesizeStage(), [SynthesizeStage()]).execute()
    assert len(run.generation_shards()) == 5 and digests(run).items() <= digests(undisturbed).items()


@pytest.mark.slow
def test_two_workers_and_a_kill_change_no_byte(undisturbed, make_run):
    run = make_run("disturbed")
    killed = start(run, "synthesize", "1/1")
    while not list((run.manifests / "synthesize").glob("0*.json")):
        assert killed.poll() is None, killed.stdout.read()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = list((run.manifests / "synthesize").glob("0*.json"))
    assert 1 <= len(done) < 5
    before = {file: file.stat().st_mtime_ns for file in run.generations.glob("0*")}
    with files.atomic_path(run.generations / "00004.jsonl.zst") as partial:
        partial.write_bytes(b"whole")
    half = partial.name.replace(f"-{os.getpid()}-", f"-{killed.pid}-")  # as the killed process would have left it
    (run.generations / half).write_bytes(b"half a file")
    (run.generations / "00004.jsonl.zst").unlink()
    workers = [start(run, "synthesize", f"{index}/2") for index in (1, 2)]
    for worker in workers:
        output = worker.communicate(timeout=200)[0]
        assert worker.returncode == 0, output
        assert "Warning" not in output and "it/s" not in output, output
    graph = [SynthesizeStage(), JudgeStage(), DeduplicateStage(), FilterStage()]
    for stage in graph[1:]:  # of every stage, two processes do half of the units each
        assert not StageRunner(run, stage, graph).execute((2, 2))
        assert StageRunner(run, stage, graph).execute((1, 2))
    assert digests(run) == digests(undisturbed)
    finished = {run.generations / f"{file.stem}.jsonl.zst" for file in done}
    assert all(file.stat().st_mtime_ns == before[file] for file in finished)  # done work was not done again


def test_shards_without_ids_go_on_with_those_that_have_them(undisturbed, make_run):
    """A run that an earlier version began: nothing is written again, and its texts are tokenized."""
    run, first = undisturbed, undisturbed.generation_shards()[0]
    before = {shard: files.sha256(shard) for shard in run.generation_shards()}
    new = ("token_ids", "max_new_tokens", "engine", "precision", "round", "pairs_file", "pairs")
    rows = [{name: value for name, value in row.items() if name not in new} for row in files.read_jsonl_zst(first)]
    files.write_jsonl_zst(first, rows)
    for note in (run.manifests / "synthesize.json", run.manifests / "synthesize" / "00000.json"):
        manifest = files.read_json(note)
        manifest["outputs"][run.relative(first)] = files.describe(first)
        files.write_json(note, manifest)
    more = make_run("undisturbed", "synthesis.margin=1.7", "synthesis.tokens=1900")
    execute_synthesis(more)
    assert list(files.read_jsonl_zst(first)) == rows and len(more.generation_shards()) > len(before)
    assert all(files.sha256(shard) == digest for shard, digest in before.items() if shard != first)
    tokenizer, audit = load_tokenizer(run.tokenizer), files.read_json(more.audit_synthetic)
    assert audit["retokenized"]["documents"] == audit["generations"] - len(rows)
    for number, shard in enumerate(more.synthetic_shards()):
        kept = list(files.read_jsonl_zst(shard))
        assert kept and all(("token_ids" in row) == (number > 0) for row in kept)
        ids = [unpack_ids(row.get("token_ids")) for row in kept]
        again = tokenizer.encode_batch([row["text"] for row in kept])
        assert [row["tokens"] for row in kept] == [
            len(other if own is None else own) + 1 for own, other in zip(ids, again, strict=True)
        ]


def test_other_batches_other_bytes_only_in_settings(undisturbed, make_run):
    stage = SynthesizeStage()
    plain, larger = make_run("undisturbed"), make_run("undisturbed", "synthesis.margin=1.9")
    assert stage.unit_settings(plain) == stage.unit_settings(larger) and stage.settings(plain) != stage.settings(larger)
    for change in ("synthesis.batch_size=9", "seed=2", "synthesis.top_p=0.8", "tuning.seed_cut=head"):
        assert stage.unit_settings(make_run("undisturbed", change)) != stage.unit_settings(plain), change
    for change in ("launch.workers=4", "filter.min_tokens=5", "evaluation.batch_size=3"):
        assert stage.settings(make_run("undisturbed", change)) == stage.settings(plain), change


def test_vllm_is_made_stale_by_what_changes_its_texts(make_run):
    stage, plain = SynthesizeStage(), make_run("vllm", "synthesis.engine=vllm")
    for change in ("synthesis.vllm.max_num_seqs=9", "synthesis.vllm.gpu_memory=0.5", "synthesis.batch_size=9"):
        same = make_run("vllm", "synthesis.engine=vllm", change)
        assert stage.settings(same) == stage.settings(plain), change
    for change in ("synthesis.vllm.eager=true", "synthesis.vllm.tensor_parallel=2", "synthesis.precision=bf16"):
        other = make_run("vllm", "synthesis.engine=vllm", change)
        assert stage.unit_settings(other) != stage.unit_settings(plain), change
    transformers = make_run("vllm", "synthesis.vllm.eager=true")
    assert stage.settings(transformers) == stage.settings(make_run("vllm"))


@pytest.mark.slow
def test_the_stage_goes_on_with_the_interpreter_that_the_recipe_names(make_run):
    run = make_run("elsewhere")
    folder = run.root.parent
    (folder / "other").write_text(f'#!/bin/sh\necho "other: $*"\nexec {sys.executable} "$@"\n')
    (folder / "other").chmod(0o755)
    words = [sys.executable, "-m", "megatron_sbp", "synthesize", str(folder / "recipe.yaml")]
    words += [f"run_folder={run.root}", "synthesis.engine=vllm", "synthesis.vllm.python=other"]
    # As in a process that one with the other interpreter started: nothing that it inherits keeps it from changing, too.
    inherited = {"SBP_PYTHON": str(folder / "other"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **inherited})
    assert done.stdout.startswith("other: -P -m megatron_sbp synthesize") and done.stdout.count("other:") == 1
    assert done.returncode == 2 and "vLLM is not installed in" in done.stderr  # this environment has none
    (folder / "other").unlink()
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2 and "other: cannot be started (No such file or directory)" in done.stderr


def test_a_larger_margin_keeps_the_generations(undisturbed, make_run):
    before = {file.name: (files.sha256(file), file.stat().st_mtime_ns) for file in undisturbed.generations.glob("0*")}
    larger = make_run("undisturbed", "synthesis.margin=2.0")
    execute_synthesis(larger)
    after = {file.name: (files.sha256(file), file.stat().st_mtime_ns) for file in larger.generations.glob("0*")}
    assert len(before) == 5 and len(after) == 7
    assert before.items() <= after.items()
    smaller = make_run("undisturbed")
    execute_synthesis(smaller)
    assert len(list(smaller.generations.glob("0*"))) == len(list(smaller.synthetic.glob("0*"))) == 5


def test_the_mean_target_is_the_expected_length(make_run):
    run = make_run("planned", "synthesis.tokens_per_generation=null")
    # 2,000 tokens x 1.3 / 30 tokens = 87 generations, in shards of 24.
    assert SynthesizeStage().units(run) == ["00000", "00001", "00002", "00003"]


def test_unfinished_upstream_is_named(make_run):
    run = make_run("early")
    (run.manifests / "export-synthesizer.json").unlink()
    with pytest.raises(InputError, match="needs the stage 'export-synthesizer'"):
        StageRunner(run, SynthesizeStage(), [SynthesizeStage()]).execute()
    shutil.rmtree(run.root)
