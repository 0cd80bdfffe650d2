"""A killed process loses one batch of generations, and the shard comes out as if nothing had happened."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.synthesis_run import Killed

from megatron_sbp.base import files
from megatron_sbp.stages.synthetic_writer import synthesizer_of
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.shard_record import record_of
from megatron_sbp.synthesis.tally import Tally, last_tally
from megatron_sbp.synthesis.transformers_engine import TransformersEngine
from megatron_sbp.synthesis.unfinished import Unfinished, drop_unfinished, unfinished_of, work_in
from megatron_sbp.synthesis.writing import write_shard


def write(run, output, label="synthesize"):
    return write_shard(
        output, 0, 70, synthesizer=synthesizer_of(run), documents=run.document_shards("train"),
        tokens=run.tokens("real"), label=label,
    )  # fmt: skip


def test_a_second_start_writes_what_is_missing(make_run, tmp_path, counted, capsys):
    run = make_run("run", "synthesis.batch_size=16")
    undisturbed, output = tmp_path / "undisturbed.jsonl.zst", tmp_path / "out.jsonl.zst"
    write(run, undisturbed)
    assert counted["texts"] == 70
    counted.update(texts=0, batches=3)
    with pytest.raises(Killed):
        write(run, output)
    assert not output.exists() and counted["texts"] == 48
    counted.update(texts=0, batches=10**9)
    capsys.readouterr()
    write(run, output)
    assert counted["texts"] == 22 and "48 of 70 documents were already written" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed.read_bytes()
    assert {path.name for path in tmp_path.glob(".*")} == {".undisturbed.jsonl.zst.written", ".out.jsonl.zst.written"}
    counted.update(texts=0)
    record = (tmp_path / ".out.jsonl.zst.written").read_bytes()
    write(run, output)  # as after a kill before its manifest was written
    assert counted["texts"] == 0 and (tmp_path / ".out.jsonl.zst.written").read_bytes() == record


@pytest.mark.parametrize(
    "override", ["synthesis.temperature=0.7", "synthesis.batch_size=8", "seed=2", "tuning.max_seed_tokens=9"]
)
def test_what_belongs_to_other_settings_is_written_again(make_run, tmp_path, counted, override):
    run, output = make_run("run", "synthesis.batch_size=16"), tmp_path / "out.jsonl.zst"
    counted["batches"] = 3
    with pytest.raises(Killed):
        write(run, output)
    counted.update(texts=0, batches=10**9)
    write(make_run("run", "synthesis.batch_size=16", override), output)
    assert counted["texts"] == 70


def texts(*lengths: int) -> list[Written]:
    return [Written(np.arange(length), finished=length > 1) for length in lengths]


def test_a_start_on_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    output = tmp_path / "shard.zst"
    first = Unfinished(output, "x")
    first.add((0, 1), texts(3, 1))
    before = first.file.read_bytes()
    with open(first.file, "ab") as file:
        file.write(b'{"places": [2')  # the disk was full here already

    def full(*words, **named):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        for name in ("write_bytes", "write_text"):
            patched.setattr(type(output), name, full)
        again = Unfinished(output, "x")
    assert sorted(again.done) == [0, 1] and first.file.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "changed", "uneven"])
def test_a_damaged_file_keeps_what_is_in_front_of_the_damage(tmp_path, damage):
    output = tmp_path / "shard.zst"
    first = Unfinished(output, "x")
    for places, lengths in (((0, 1), (3, 1)), ((2,), (5,)), ((3, 4), (2, 2))):
        first.add(places, texts(*lengths))
    raw = first.file.read_bytes()
    lines = raw.splitlines(keepends=True)  # the header, then batches and tallies
    changed = b"{]\n" if damage == "changed" else lines[3].replace(b'"places": [2]', b'"places": [2, 3]')
    cut = raw[: -len(lines[-1]) - 4]
    first.file.write_bytes(cut if damage == "cut" else b"".join([*lines[:3], changed, *lines[4:]]))
    again = Unfinished(output, "x")
    assert sorted(again.done) == ([0, 1, 2] if damage == "cut" else [0, 1])
    assert again.done[0].tokens.tolist() == [0, 1, 2] and [again.done[n].finished for n in (0, 1)] == [True, False]
    again.add((3, 4), texts(2, 2))
    assert sorted(Unfinished(output, "x").done) == sorted([*again.done, 3, 4])
    assert Unfinished(output, "y").done == {} and Unfinished(output, "x").done == {}, "another one starts over"


def test_work_adds_up_over_interruptions_and_what_is_fresh_does_not(tmp_path, monkeypatch):
    now = [50.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.time", lambda: 1000.0 + now[0])
    output = tmp_path / "shard.zst"
    first = Unfinished(output, "x", min_tokens=2)
    assert work_in(first.file) == 0
    now[0] += 10
    first.add((0, 1), texts(3, 1))
    now[0] += 500  # killed in the next batch, and started again the next day
    again = Unfinished(output, "x", min_tokens=4)
    assert work_in(again.file) == 10
    now[0] += 5
    again.add((2,), texts(9))
    assert last_tally(again.file) == again.tally
    assert again.tally == Tally(3, fresh=1, seconds=15, begun=1560, updated=1565, min_tokens=4, short=2, unfinished=0)


def test_texts_of_0_1_0_have_no_counts_and_go_on(tmp_path):
    output = tmp_path / "shard.zst"
    first = Unfinished(output, "x")
    first.add((0, 1), texts(3, 1))
    first.file.write_bytes(b"".join(first.file.read_bytes().splitlines(keepends=True)[:2]))
    assert work_in(first.file) == math.inf
    again = Unfinished(output, "x")
    assert sorted(again.done) == [0, 1] and again.tally.texts == 2
    again.add((2,), texts(5))
    assert again.tally.texts == 3 and work_in(again.file) == again.tally.seconds < 60


def test_the_line_of_a_second_start_says_its_own_rate(make_run, tmp_path, counted, capsys, monkeypatch):
    run, output = make_run("run", "synthesis.batch_size=16"), tmp_path / "out.jsonl.zst"
    counted["batches"] = 3
    with pytest.raises(Killed):
        write(run, output)
    counted["batches"] = 10**9
    lines, clock = [], iter(range(10**6))
    real = TransformersEngine.write

    def slow(self, generations, prompts):
        for _ in range(1000):
            next(clock)
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "write", slow)
    monkeypatch.setattr("megatron_sbp.base.progress.time.monotonic", lambda: float(next(clock)))
    write(run, output)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("synthesize: 64 of 70")]
    assert "(91 %), 0.0/s, " in lines[0] and "6m" in lines[0], lines  # 16 texts in 1,000 s; six are left


def test_the_stage_leaves_nothing_behind(make_run):
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.stages.synthesize import SynthesizeStage

    run = make_run("run")
    leftover = run.generations / ".00000.jsonl.zst.unfinished"
    files.write_text(leftover, json.dumps({"identity": "of a process that was killed at its very end"}))
    stage = SynthesizeStage()
    assert StageRunner(run, stage, [stage]).execute()
    assert not leftover.exists() and list(run.generations.glob(".*")) == []


@pytest.mark.parametrize("others", [True, False])
def test_leftovers_are_removed_but_not_texts_beyond_the_plan(tmp_path, others):
    """Shard 0 is planned, 1 was finished under a larger plan, 2 is half-written."""
    shards = [tmp_path / f"0000{number}.jsonl.zst" for number in range(3)]
    for shard in shards:
        unfinished_of(shard).touch()
        record_of(shard).touch()
    shards[1].touch()
    drop_unfinished(tmp_path, ["00000"], others=others)
    assert [unfinished_of(shard).exists() for shard in shards] == [False, False, True]
    assert [record_of(shard).exists() for shard in shards] == [False, not others, not others]
