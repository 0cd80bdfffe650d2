"""What is there of a stage, in one line, and when making it again must be asked for."""

from __future__ import annotations

import os

import pytest
from support.stage_toys import Words, graph, make_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import external
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.executor.state import StageState, Unread


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\n")
    return tmp_path


def state(folder, *overrides: str, place: int = 0, **asked) -> StageState:
    stages = graph()
    return StageState(make_run(folder, *overrides), stages[place], stages, **asked)


def execute(folder, *overrides: str, shard=(1, 1)) -> None:
    stages = graph()
    StageRunner(make_run(folder, *overrides), stages[0], stages).execute(shard)


def test_from_not_started_to_finished(folder):
    assert state(folder).why() == "not started" and not state(folder).finished()
    assert state(folder, place=1).why() == "waiting (lengths needs the stage 'words', which is not finished)"
    execute(folder, shard=(2, 3))
    assert state(folder).why() == "1 of 3 units; missing: units 1,3"
    manifest = next((folder / "run" / "stages" / "words").glob("0*.json"))
    files.write_json(manifest, {**files.read_json(manifest), "seconds": 90.0})
    assert state(folder).why() == "1 of 3 units, 40.0 units/h, 3m 00s left; missing: units 1,3"
    assert state(folder).missing_units() == ["00000", "00002"]
    execute(folder)
    assert state(folder).why().startswith("finished in ") and state(folder).finished()


def test_stale_and_damaged(folder):
    execute(folder)
    assert state(folder, "note=upper").why() == "stale: made under other settings or inputs, will run again"
    (folder / "run" / "words" / "joint.txt").unlink()
    assert state(folder).why().startswith("damaged: words/joint.txt ")
    (folder / "run" / "stages" / "words.json").write_text("{")
    assert state(folder).why().startswith("damaged: ") and "--discard words" in state(folder).why()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "FILE: No such file or directory)"),
        ("{", "FILE: not valid JSON ("),
        ("{}", "a file does not hold what was written, see `sbp verify`: KeyError('units'))"),
    ],
)
def test_a_stage_that_cannot_be_counted_is_shown_with_its_reason(folder, text, found):
    class Counted(Words):
        """An output of another stage has the number of units."""

        def units(self, run):
            return ["00000", "00001"][: files.read_json(file)["units"]]

    file, stage = folder / "run" / "count.json", Counted()
    files.write_json(file, {"units": 2})
    counted = StageState(make_run(folder), stage, [stage])
    StageRunner(counted.run, stage, [stage]).execute((1, 2))
    assert counted.why() == "1 of 2 units; missing: units 2"
    file.unlink() if text is None else file.write_text(text)
    assert counted.why().startswith(f"waiting ({found.replace('FILE', str(file))}")


def test_a_lost_file_of_the_user_is_named(folder):
    execute(folder)
    (folder / "words.txt").unlink()
    assert state(folder, reads_data=False).why() == f"waiting ({folder}/words.txt: No such file or directory)"


def test_a_damaged_record_of_what_was_spent_is_named(folder, monkeypatch):
    def spent(self, run):
        raise InputError("this row was changed", file=run.root / "metrics.jsonl", line=3)

    execute(folder, shard=(1, 2))
    monkeypatch.setattr(Words, "spent", spent)
    found = state(folder, "note=upper").why()
    assert found == f"waiting ({folder}/run/metrics.jsonl:3: this row was changed)"


def test_cheap_work_is_replaced_and_costly_work_only_when_asked(folder, monkeypatch):
    execute(folder)
    state(folder, "note=upper").check()
    monkeypatch.setattr(StageState, "keep_seconds", -1.0)
    with pytest.raises(InputError, match=r"note was .* is 'upper'.*--discard words"):
        state(folder, "note=upper").check()
    assert "needs --discard words" in state(folder, "note=upper").why()
    state(folder, "note=upper", discard=True).check()


def test_checking_changes_nothing(folder):
    execute(folder, shard=(1, 3))
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    for overrides in ((), ("note=upper",)):
        state(folder, *overrides).check()
        state(folder, *overrides).why()
        state(folder, *overrides).finished()
    assert {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()} == before


class Measuring(Words):
    """Counts in its settings what another stage measured of its finished outputs, and keeps that among them."""

    def settings(self, run):
        found = run.at("words/measured")
        return {**super().settings(run), **({"measured": found.read_text()} if found.exists() else {})}

    def finish(self, run):
        found = run.at("words/measured")
        return [*super().finish(run), *([found] if found.exists() else [])]


@pytest.mark.parametrize("damage", [None, "stages/words.json", "words/joint.txt"])
def test_what_was_measured_of_outputs_counts_for_these_alone(folder, damage):
    def runner(*overrides: str) -> StageRunner:
        stage = Measuring()
        return StageRunner(make_run(folder, *overrides), stage, [stage], discard=damage is not None)

    assert runner().execute()
    files.write_text(folder / "run" / "words" / "measured", "too little")
    assert not runner().finished() and runner().execute() and runner().finished()
    assert (folder / "run" / "words" / "measured").exists()
    if damage:
        (folder / "run" / damage).write_text("{")
    assert runner("note=upper").execute() and runner("note=upper").finished()
    assert not (folder / "run" / "words" / "measured").exists()


def test_status_reads_no_large_corpus(folder, monkeypatch):
    """What `sbp status` and `sbp submit` ask on a login node; `sbp run` reads it."""
    monkeypatch.setattr(external, "SMALL_BYTES", 3)
    monkeypatch.setattr(files, "sha256", lambda path, *about: pytest.fail(f"{path} is read"))
    assert state(folder, reads_data=False).why() == "not started (its input files have not been read yet)"
    with pytest.raises(Unread, match=r"words\.txt"):
        state(folder, reads_data=False).missing_units()
    monkeypatch.undo()
    execute(folder)
    monkeypatch.setattr(external, "SMALL_BYTES", 3)
    assert state(folder, reads_data=False).why().startswith("finished in")
    os.utime(folder / "words.txt")
    asked = state(folder, reads_data=False).why()
    assert asked == f"{folder / 'words.txt'} has changed or was touched since it finished; the next run reads it"
    assert state(folder).why().startswith("finished in")


@pytest.mark.parametrize("note", ["plain", "upper"])
@pytest.mark.parametrize("shard", [None, (2, 3), (1, 1)])
def test_one_look_finds_what_is_read_once(folder, monkeypatch, shard, note):
    """A corpus of 27,838 files was found and compared two or three times for one line of `sbp status`."""
    if shard is not None:
        execute(folder, shard=shard)
    looks = []
    monkeypatch.setattr(Words, "external", lambda self, run: looks.append(1) or [folder / "words.txt"])
    state(folder, f"note={note}").why()
    assert len(looks) == 1


def test_outputs_of_a_copied_run_folder_are_read_once(folder, monkeypatch):
    """Every command read all of them again, each time."""
    execute(folder)
    copied = sorted(path for path in (folder / "run" / "words").iterdir())
    for path in copied:
        os.utime(path, ns=(1, 1))
    read, sha256 = [], files.sha256
    monkeypatch.setattr(files, "sha256", lambda path, *about: read.append(path) or sha256(path, *about))
    assert state(folder).finished() and sorted(read) == copied
    execute(folder)
    assert sorted(read) == sorted(copied * 2)
    execute(folder)
    assert state(folder).finished() and len(read) == 2 * len(copied)
    copied[0].write_text("One")
    os.utime(copied[0], ns=(2, 2))
    assert not state(folder).finished()
