"""Work that took long is replaced only when asked, and a setting that fails costs nothing."""

from __future__ import annotations

import itertools
import shutil

import pytest
from support import stage_toys as toys
from support.toy_runs import aside, calls, contents, execute, runner

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.stage import Damage, by_name


def fail_after(monkeypatch, stage: str, calls_before: int) -> None:
    """The stage's units raise from a certain call on, as a bad setting or a full disk would make them."""
    kind = type(by_name(toys.graph(), stage))
    plain, count = kind.run_unit, 0

    def run_unit(self, run, unit):
        nonlocal count
        count += 1
        if count > calls_before:
            raise InputError("a value that cannot work")
        return plain(self, run, unit)

    monkeypatch.setattr(kind, "run_unit", run_unit)


@pytest.mark.parametrize("calls_before", [0, 3])
def test_a_setting_that_fails_costs_nothing(folder, monkeypatch, calls_before):
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    with monkeypatch.context() as patch:
        fail_after(patch, "words", calls_before)
        with pytest.raises(InputError):
            execute(toys.make_run(folder, "note=upper"))
    shown = {name: data for name, data in contents(run).items() if not name.startswith(".work/")}
    assert shown == before
    assert execute(run) == []  # back to the former settings: nothing to do
    assert execute(toys.make_run(folder, "note=upper"))[0] == f"words {calls_before:05d}"  # resumes where it failed
    assert not (run.root / ".work").exists() and not run.aside.exists()


def costly(monkeypatch) -> None:
    monkeypatch.setattr("megatron_sbp.executor.state.StageState.keep_seconds", -1.0)


def test_costly_outputs_are_replaced_only_when_asked(folder, monkeypatch):
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    costly(monkeypatch)
    changed = toys.make_run(folder, "note=upper")
    for attempt in (runner(changed, "words").execute, runner(changed, "words").check):
        with pytest.raises(InputError, match=r"note was '', is 'upper'.*--discard words"):
            attempt()
    assert contents(run) == before and "needs --discard words" in runner(changed, "words").why()
    graph = toys.graph()
    assert StageRunner(changed, by_name(graph, "words"), graph, discard=True).execute()
    assert (run.root / "words" / "00001.txt").read_text() == "BE"
    assert aside(run)["00001.txt"] == "be"  # the former outputs are kept


def test_a_clock_that_was_set_back_makes_no_work_cheap(folder, monkeypatch):
    run, clock = toys.make_run(folder), itertools.count(2e9, -86_400)  # a day between two looks at it
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: next(clock))
        execute(run)
    manifest = files.read_json(run.stage_manifest("words"))
    assert 0 <= manifest["unit_seconds"] <= manifest["seconds"] < 60
    monkeypatch.setattr("megatron_sbp.executor.state.StageState.keep_seconds", -0.1)
    with pytest.raises(InputError, match="--discard words"):
        runner(toys.make_run(folder, "note=upper"), "words").execute()


def test_costly_unfinished_work_is_kept_too(folder, monkeypatch):
    run = toys.make_run(folder)
    assert not runner(run, "words").execute((1, 2))
    before = contents(run)
    costly(monkeypatch)
    changed = toys.make_run(folder, "note=upper")
    with pytest.raises(InputError, match=r"unfinished work.*--discard words"):
        runner(changed, "words").execute()
    assert contents(run) == before
    graph = toys.graph()
    assert StageRunner(changed, by_name(graph, "words"), graph, discard=True).execute()
    assert aside(run)["00002.txt"] == "gamma"


def test_costly_unfinished_work_beside_finished_outputs_outlives_a_third_setting(folder, monkeypatch):
    """Of a training's hours only its own record tells, not its unit's manifest."""
    execute(toys.make_run(folder))
    unfinished = toys.make_run(folder, "note=upper")
    assert not runner(unfinished, "words").execute((1, 2))
    monkeypatch.setattr(toys.Words, "spent", lambda self, view: 36000.0 * (view.at("words") / "00000.txt").exists())
    assert runner(toys.make_run(folder, "note=other"), "words").execute()
    monkeypatch.undo()
    (unfinished.root / "calls").unlink()
    assert runner(unfinished, "words").execute()
    assert calls(unfinished) == ["words 00001", "words 00003", "words 00005", "words finish"]


def test_damaged_work_in_progress_is_repaired_beside_finished_outputs_too(folder, monkeypatch):
    """Work that a stage may go on from, made in the run folder or in .work/: refused when damaged, until asked."""

    def unfinished_damage(self, run):
        file = run.at("words") / "00000.txt"
        broken = file.exists() and file.read_text() == "broken"
        return [Damage(run.relative(file), "has other bytes", gone=False)] if broken else []

    def check_damage(self, run, found, repair, discard):
        if not repair:
            raise InputError(f"damaged: {found[0]}; --repair words", file=run.at(found[0].path))

    repaired = []

    def repair(self, run, found):
        repaired.extend(run.at(item.path) for item in found)
        run.at(found[0].path).unlink()

    monkeypatch.setattr(toys.Words, "unfinished_damage", unfinished_damage)
    monkeypatch.setattr(toys.Words, "check_damage", check_damage)
    monkeypatch.setattr(toys.Words, "repair", repair)
    graph = toys.graph()
    for run in (toys.make_run(folder), toys.make_run(folder, "note=upper")):  # the second beside the first's outputs
        assert not runner(run, "words").execute((1, 2))
        made = max(run.root.rglob("00000.txt"), key=lambda path: path.stat().st_mtime_ns)
        good = made.read_text()
        made.write_text("broken")
        with pytest.raises(InputError, match="--repair words"):
            runner(run, "words").execute()
        assert StageRunner(run, by_name(graph, "words"), graph, repair=True).execute()
        assert (run.root / "words" / "00000.txt").read_text() == good and repaired.pop() == made


def test_a_stage_that_checks_its_own_work_continues_without_a_manifest(folder, monkeypatch):
    run = toys.make_run(folder)
    assert not runner(run, "words").execute((1, 2))
    shutil.rmtree(run.manifests)
    monkeypatch.setattr(toys.Words, "checks_own_work", True)
    assert runner(run, "words").execute() and not run.aside.exists()
