"""Half-written shards of the stage synthesize: what they cost, what is said of them, and what becomes of them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from support.synthesis_run import Killed, execute_synthesis

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.synthesize import SynthesizeStage
from megatron_sbp.synthesis.tally import last_tally
from megatron_sbp.synthesis.unfinished import Unfinished

pytestmark = pytest.mark.timeout(300)


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
