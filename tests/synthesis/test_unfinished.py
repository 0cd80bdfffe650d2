"""A killed process loses one batch of generations, and the shard comes out as if nothing had happened."""

from __future__ import annotations

import json

import numpy as np
import pytest

from megatron_sbp.base import files
from megatron_sbp.stages.synthesize import synthesizer_of
from megatron_sbp.synthesis.engine import Written
from megatron_sbp.synthesis.unfinished import Unfinished
from megatron_sbp.synthesis.writing import write_shard


class Killed(Exception):
    """Stands for SIGKILL: nothing behind it runs."""


def write(run, output, label="synthesize"):
    return write_shard(
        output, 0, 70, synthesizer=synthesizer_of(run), documents=run.document_shards("train"),
        tokens=run.tokens("real"), label=label,
    )  # fmt: skip


@pytest.fixture
def counted(monkeypatch):
    """Texts that the engine wrote, and a number of batches after which it dies."""
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    state, real = {"texts": 0, "batches": 10**9}, TransformersEngine.write

    def counting(self, generations, prompts):
        if not state["batches"]:
            raise Killed
        state["batches"] -= 1
        state["texts"] += len(generations)
        return real(self, generations, prompts)

    monkeypatch.setattr(TransformersEngine, "write", counting)
    return state


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
    assert [path.name for path in tmp_path.glob(".*")] == []


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
    lines = raw.splitlines(keepends=True)
    changed = b"{]\n" if damage == "changed" else lines[2].replace(b'"places": [2]', b'"places": [2, 3]')
    first.file.write_bytes(raw[:-4] if damage == "cut" else b"".join([*lines[:2], changed, *lines[3:]]))
    again = Unfinished(output, "x")
    assert sorted(again.done) == ([0, 1, 2] if damage == "cut" else [0, 1])
    assert again.done[0].tokens.tolist() == [0, 1, 2] and [again.done[n].finished for n in (0, 1)] == [True, False]
    again.add((3, 4), texts(2, 2))
    assert sorted(Unfinished(output, "x").done) == sorted([*again.done, 3, 4])
    assert Unfinished(output, "y").done == {} and Unfinished(output, "x").done == {}, "another one begins anew"


def test_the_stage_leaves_nothing_behind(make_run):
    from megatron_sbp.executor.runner import StageRunner
    from megatron_sbp.stages.synthesize import SynthesizeStage

    run = make_run("run")
    leftover = run.generations / ".00000.jsonl.zst.unfinished"
    files.write_text(leftover, json.dumps({"identity": "of a process that was killed at its very end"}))
    stage = SynthesizeStage()
    assert StageRunner(run, stage, [stage]).execute()
    assert not leftover.exists() and list(run.generations.glob(".*")) == []
