"""The stages synthesize and filter: workers, interruptions and a larger plan change no byte."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from support.synthesis_run import Killed, digests, execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.deduplicate import DeduplicateStage
from megatron_sbp.stages.filter import FilterStage
from megatron_sbp.stages.judge import JudgeStage
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.synthesis.synthesizer import ids_digest
from megatron_sbp.synthesis.tally import last_tally
from megatron_sbp.synthesis.transformers_engine import TransformersEngine
from megatron_sbp.synthesis.unfinished import Unfinished
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


@pytest.fixture
def half(make_run, counted):
    """Interrupts the stage of a run in a shard, after a number of batches; gives the file with the texts."""

    def interrupt(run, batches: int) -> Path:
        counted["batches"] = batches
        with pytest.raises(Killed):
            execute_synthesis(run, "synthesize")
        counted.update(batches=10**9, texts=0)
        found = [path for path in run.root.rglob(".*.unfinished") if len(Path(path).read_bytes().splitlines()) > 1]
        assert len(found) == 1
        return found[0]

    return interrupt


TWO = "synthesis.tokens=700"
"""Then there are two shards."""


def make_costly(file: Path) -> None:
    """As if the texts in this file had taken an hour."""
    with open(file, "ab") as stream:
        stream.write(dataclasses.replace(last_tally(file), seconds=3600.0).as_line())


def state(run, **asked) -> StageRunner:
    return StageRunner(run, SynthesizeStage(), [SynthesizeStage()], **asked)


def test_costly_texts_of_the_first_shard_are_not_discarded_without_asking(make_run, half, counted):
    run, changed = make_run("run", TWO), make_run("run", TWO, "synthesis.temperature=0.7")
    file = half(run, 2)
    assert state(changed).why() == "stale: made under other settings or inputs, will run again"
    make_costly(file)
    before = file.read_bytes()
    assert "took 1h 00m: needs --discard synthesize" in state(changed).why()
    for refused in (state(changed).check, state(changed).execute):
        with pytest.raises(InputError, match=r"temperature.*1h 00m of unfinished work.*--discard synthesize"):
            refused()
    assert file.read_bytes() == before
    assert state(run).execute() and counted["texts"] == 2 * 24 - 20
    unit = files.read_json(run.manifests / "synthesize" / "00000.json")
    assert unit["earlier_seconds"] == 3600 and unit["seconds"] < 300
    with pytest.raises(InputError, match=r"would replace 1h 00m of work"):
        state(changed).check()


def test_costly_texts_go_to_aside_when_asked(make_run, half, counted):
    file = half(make_run("run", TWO), 2)
    make_costly(file)
    changed = make_run("run", TWO, "synthesis.temperature=0.7")
    assert state(changed, discard=True).execute() and counted["texts"] == 2 * 24
    kept = list(changed.aside.rglob(file.name))
    assert len(kept) == 1 and last_tally(kept[0]).texts == 20


def test_texts_of_unknown_cost_are_not_discarded_without_asking(make_run, half):
    file = half(make_run("run"), 2)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1] + lines[3])  # as 0.1.0 wrote it
    with pytest.raises(InputError, match="would replace an unknown time of unfinished work"):
        state(make_run("run", "synthesis.temperature=0.7")).check()


@pytest.mark.parametrize("costly", [True, False])
def test_texts_of_a_change_survive_another_change_if_they_were_costly(undisturbed, make_run, half, counted, costly):
    file = half(make_run("undisturbed", TWO, "synthesis.temperature=0.7"), 2)
    assert ".work" in file.parts
    if costly:
        make_costly(file)
    assert state(make_run("undisturbed", TWO, "synthesis.temperature=0.8")).execute()
    assert file.exists() == costly
    counted["texts"] = 0
    assert state(make_run("undisturbed", TWO, "synthesis.temperature=0.7")).execute()
    assert counted["texts"] == 2 * 24 - (20 if costly else 0)


@pytest.mark.parametrize("costly", [True, False])
def test_texts_of_a_shard_beyond_a_smaller_plan_are_kept_if_they_were_costly(make_run, half, costly, capsys):
    file = half(make_run("run", TWO), 3 + 2)
    assert file.name.startswith(".00001.")
    if costly:
        make_costly(file)
    smaller = make_run("run", "synthesis.tokens=400")
    assert state(smaller).execute()
    assert [path.name for path in smaller.generations.iterdir()] == ["00000.jsonl.zst"]
    kept = [smaller.relative(path) for path in smaller.aside.rglob(".00001*")]
    said = "synthesize: 1 units beyond the present plan, 1h 00m of work, are in aside/synthesize-surplus"
    assert [path.rpartition("/")[2] for path in kept] == ([file.name] if costly else [])
    assert (said in capsys.readouterr().err) == costly


def test_status_and_progress_say_how_all_workers_are_doing(make_run, half, counted, capsys, monkeypatch):
    monkeypatch.setattr(Progress.__init__, "__defaults__", (0.0, None))
    run = make_run("run", "filter.min_tokens=12")
    texts = Unfinished(run.generations / "00001.jsonl.zst", last_identity(half(run, 5))).done.values()
    shard = list(files.read_jsonl_zst(run.generations / "00000.jsonl.zst"))
    lengths = [row["tokens"] - row["finished"] for row in shard] + [len(text.tokens) for text in texts]
    ended = [row["finished"] for row in shard] + [text.finished for text in texts]
    passing = sum(length >= 12 and end for length, end in zip(lengths, ended, strict=True))
    assert len(lengths) == 44 and 0 < passing < 44
    accepted = f"of 44, {passing / 44:.1%} pass too_short and unfinished"
    said = re.escape(f"; {accepted}; written ")
    assert re.fullmatch(
        rf"1 of 5 units; 44 of 120 documents \(37%\), [\d.,]+/s, [\dms .]+ left{said}[\d.]+s ago; missing: units 2-5",
        state(run).why(),
    ), state(run).why()
    capsys.readouterr()
    counted["batches"] = 1
    with pytest.raises(Killed):
        state(run).execute()
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("synthesize 00001: 24 of 24 "))
    assert "; all workers: 48 of 120 documents (40%), " in line and "of 48, " in line
    counted["batches"] = 10**9
    assert state(run).execute()
    assert list(run.generations.glob(".*")) == [] and state(run).why().startswith("finished in ")


def last_identity(file: Path) -> str:
    return json.loads(file.read_bytes().splitlines()[0])["identity"]


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


def test_rows_have_the_tokens_that_the_engine_wrote_and_where_they_come_from(make_run, monkeypatch):
    run, written, write = make_run("ids"), {}, TransformersEngine.write
    run.pairs("train").parent.mkdir(parents=True)
    run.pairs("train").write_bytes(b"the pairs tuned on")

    def noted(self, generations, prompts):
        texts = write(self, generations, prompts)
        written.update({generation.name: text for generation, text in zip(generations, texts, strict=True)})
        return texts

    monkeypatch.setattr(TransformersEngine, "write", noted)
    execute_synthesis(run, "synthesize")
    rows = [row for shard in run.generation_shards() for row in files.read_jsonl_zst(shard)]
    tokenizer, whole = load_tokenizer(run.tokenizer), 0
    for row in rows:
        ids, own = unpack_ids(row["token_ids"]).tolist(), written[row["id"]].tokens.tolist()
        assert ids == own[: len(ids)] and (ids == own or not row["finished"])
        assert row["ids_digest"] == ids_digest(ids) and tokenizer.decode(ids) == row["text"]
        whole += ids == own
    assert len(rows) - 5 < whole <= len(rows) == 120
    same = [{name: row[name] for name in LINEAGE} for row in rows]
    assert all(each == LINEAGE for each in same)
    pairs = {(row["pairs_file"], row["pairs"]) for row in rows}
    assert pairs == {("pairs/pairs.parquet", files.sha256(run.pairs("train")))}


LINEAGE = {
    "synthesizer": "ab" * 32, "temperature": 1.0, "top_p": 0.9, "max_new_tokens": 50, "engine": "transformers",
    "precision": "fp32", "run_seed": 1, "round": 1,
}  # fmt: skip


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
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.startswith("other: -m megatron_sbp synthesize") and done.stdout.count("other:") == 1
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
