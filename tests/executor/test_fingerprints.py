"""Units that read files of their own: more leave the others done, and a changed one asks before it is redone."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stage_toys import RECIPE
from support.tokenized_run import WrittenBefore

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.fingerprints import fingerprints_of
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage


class Doubled(Stage):
    """Every word twice, with the shared mark behind it; and how many there are."""

    name, title, sharded = "doubled", "doubled", True

    def __init__(self):
        self.done: list[str] = []

    def reads(self, run: Run):
        return {"words": (f"words/{UNIT}.txt", "words/mark")}

    def units(self, run: Run) -> list[str]:
        return sorted(path.stem for path in run.at("words").glob("*.txt"))

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("doubled", "count.json")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        self.done.append(unit)
        output = run.at("doubled") / f"{unit}.txt"
        files.write_text(output, (run.at("words") / f"{unit}.txt").read_text() * 2 + run.at("words/mark").read_text())
        return [output]

    def finish(self, run: Run) -> list[Path]:
        files.write_json(run.at("count.json"), len(self.units(run)))
        return [run.at("count.json")]


@pytest.fixture
def run(tmp_path) -> Run:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return Run.of(load_recipe(tmp_path / "recipe.yaml", [f"run_folder={tmp_path / 'run'}"]))


def written(run: Run, *words: str, mark: str = "!") -> WrittenBefore:
    """The stage before, with a file per word."""
    paths = [run.at("words") / f"{number}.txt" for number in range(len(words))]
    for path, word in zip(paths, words, strict=True):
        files.write_text(path, word)
    for path in set(run.at("words").glob("*.txt")) - set(paths):
        path.unlink()
    files.write_text(run.at("words/mark"), mark)
    (run.manifests / "words.json").unlink(missing_ok=True)
    (run.manifests / "words" / "all.json").unlink(missing_ok=True)
    before = WrittenBefore("words", [*paths, run.at("words/mark")])
    assert StageRunner(run, before, [before]).execute()
    return before


def doubled(run: Run, before: Stage, shard: tuple[int, int] = (1, 1), **options) -> list[str]:
    """Units that were done."""
    stage = Doubled()
    StageRunner(run, stage, [before, stage], **options).execute(shard)
    return stage.done


def outputs(run: Run) -> list[str]:
    return [path.read_text() for path in sorted(run.at("doubled").iterdir())]


def test_more_units_leave_finished_ones_as_they_are(run):
    assert doubled(run, written(run, "a", "b")) == ["0", "1"]
    before = [path.stat().st_ino for path in sorted(run.at("doubled").iterdir())]
    assert doubled(run, written(run, "a", "b", "c")) == ["2"]
    assert outputs(run) == ["aa!", "bb!", "cc!"] and files.read_json(run.at("count.json")) == 3
    assert [path.stat().st_ino for path in sorted(run.at("doubled").iterdir())][:2] == before
    assert doubled(run, written(run, "a", "b", "c")) == [] and not run.aside.exists()


class Folders(Doubled):
    """A folder per unit, of which those of unit 0 are read by all."""

    def reads(self, run: Run):
        return {"words": (f"words/{UNIT}/iter_*", "words/mark", "words/0/*")}


def test_a_unit_may_read_files_below_a_folder_and_all_may_read_one_of_them(run):
    stage = Folders()
    reads = list(stage.reads(run)["words"])
    inputs = {f"words/{unit}/iter_{part}/{part}.txt": "same" for unit in "01" for part in "ab"} | {"words/mark": "!"}
    before = fingerprints_of(stage, run, inputs, reads)
    assert before.own == {"1": {"words/1/iter_a/a.txt": "same", "words/1/iter_b/b.txt": "same"}}
    more = fingerprints_of(stage, run, {**inputs, "words/2/iter_a/a.txt": "more"}, reads)
    assert more.continued_from(before.units, inputs) and more.unit("1") == before.unit("1") != more.unit("2")
    changed = fingerprints_of(stage, run, {**inputs, "words/0/iter_a/a.txt": "other"}, reads)
    assert not changed.continued_from(before.units, inputs) and changed.unit("1") != before.unit("1")


def test_fewer_units(run):
    doubled(run, written(run, "a", "b", "c"))
    assert doubled(run, written(run, "a", "b")) == []
    assert outputs(run) == ["aa!", "bb!"] and files.read_json(run.at("count.json")) == 2
    assert doubled(run, written(run, "a", "b", "d")) == ["2"]
    assert outputs(run) == ["aa!", "bb!", "dd!"]


def test_costly_units_of_a_larger_plan_are_kept_aside(run, monkeypatch, capsys):
    doubled(run, written(run, "a", "b", "c", "d"))
    monkeypatch.setattr(StageRunner, "keep_seconds", -1.0)
    assert doubled(run, written(run, "a", "b")) == []
    assert outputs(run) == ["aa!", "bb!"]
    assert {path.name: path.read_text() for path in run.aside.rglob("*.txt")} == {"2.txt": "cc!", "3.txt": "dd!"}
    assert "doubled: 2 units beyond the present plan" in capsys.readouterr().err


def test_what_all_units_read_makes_all_of_them_again(run):
    doubled(run, written(run, "a", "b"))
    assert doubled(run, written(run, "a", "b", "c", mark="?")) == ["0", "1", "2"]
    assert outputs(run) == ["aa?", "bb?", "cc?"]


def test_a_changed_unit_is_made_beside_the_finished_ones_and_costs_nothing_unasked(run, monkeypatch):
    doubled(run, written(run, "a", "b"))
    monkeypatch.setattr(StageRunner, "keep_seconds", -1.0)
    changed = written(run, "a", "x", "c")
    with pytest.raises(InputError, match=r"words/1\.txt changed.*--discard doubled"):
        doubled(run, changed)
    assert outputs(run) == ["aa!", "bb!"] and files.read_json(run.at("count.json")) == 2
    assert doubled(run, changed, discard=True) == ["0", "1", "2"]
    assert outputs(run) == ["aa!", "xx!", "cc!"]
    assert sorted(path.read_text() for path in run.aside.rglob("*.txt")) == ["aa!", "bb!"]


def test_unfinished_work_continues_with_more_units_but_not_with_changed_ones(run, monkeypatch):
    assert doubled(run, written(run, "a", "b", "c"), (1, 2)) == ["0", "2"]
    assert doubled(run, written(run, "a", "b", "c", "d")) == ["1", "3"]
    assert outputs(run) == ["aa!", "bb!", "cc!", "dd!"]
    (run.manifests / "doubled.json").unlink()
    monkeypatch.setattr(StageRunner, "keep_seconds", -1.0)
    changed = written(run, "a", "b", "x", "d")
    with pytest.raises(InputError, match=r"words/2\.txt changed.*unfinished work"):
        doubled(run, changed)
    monkeypatch.undo()
    assert doubled(run, changed) == ["0", "1", "2", "3"]
    assert outputs(run) == ["aa!", "bb!", "xx!", "dd!"]


def test_status_of_an_extended_stage(run):
    doubled(run, written(run, "a", "b"))
    before, stage = written(run, "a", "b", "c"), Doubled()
    said = StageRunner(run, stage, [before, stage])
    assert said.why() == "2 of 3 units; missing: units 3" and said.missing_units() == ["2"]
    said.check()
