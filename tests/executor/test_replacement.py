"""Replacing finished outputs: nothing of others is deleted, and every interruption can be completed."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import traceback
from pathlib import Path

import pytest
from support import stage_toys as toys
from support.killed import killed_before
from support.stage_toys import make_run
from support.toy_runs import WORDS, contents, execute, runner

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.manifests import entries
from megatron_sbp.executor.replacement import Replacement, remove_named
from megatron_sbp.executor.runner import StageRunner

KEY = "0123456789ab"


@pytest.fixture
def run(tmp_path):
    run = make_run(tmp_path)
    for name, text in (("a", "former"), ("b", "former too")):
        files.write_text(run.root / "words" / f"{name}.txt", text)
    manifest = {"key": "former", "seconds": 1, "started": 1, "settings": {}, "inputs": {}, "unit_seconds": 1}
    outputs = entries(run, (run.root / "words").iterdir())
    files.write_json(run.manifests / "words.json", {**manifest, "outputs": outputs})
    files.write_text(run.root / ".work" / f"words-{KEY}" / "words" / "a.txt", "new")
    files.write_json(run.root / ".work" / f"words-{KEY}" / "units" / "00000.json", {"new": 1})
    return run


def replacement(run) -> Replacement:
    return Replacement(run, "words", ("words",), run.manifests / "words.json", run.manifests / "words")


def install(run, keep: bool = False) -> None:
    work = run.work_folder("words", KEY)
    replacement(run).install(run.view(work, ("words",)), work / "units", {"key": "new", "outputs": {}}, keep)


def test_new_outputs_take_the_place_and_nothing_is_left(run):
    install(run)
    assert [path.name for path in (run.root / "words").iterdir()] == ["a.txt"]
    assert (run.root / "words" / "a.txt").read_text() == "new"
    assert files.read_json(run.manifests / "words.json")["key"] == "new"
    assert files.read_json(run.manifests / "words" / "00000.json") == {"new": 1}
    assert not (run.root / ".work").exists() and not run.aside.exists()
    assert not replacement(run).interrupted()


def test_costly_former_outputs_are_kept(run):
    install(run, keep=True)
    kept = sorted(path.name for path in run.aside.rglob("*.txt"))
    assert kept == ["a.txt", "b.txt"]


def test_a_changed_file_and_a_foreign_file_are_kept(run, capsys):
    files.write_text(run.root / "words" / "b.txt", "edited")
    files.write_text(run.root / "words" / "notes.md", "mine")
    install(run)
    kept = {path.name: path.read_text() for path in run.aside.rglob("*") if path.is_file()}
    assert kept == {"b.txt": "edited", "notes.md": "mine"}
    assert "the former files are in aside/words-replaced" in capsys.readouterr().err


def test_killed_before_any_change_it_is_completed(run, tmp_path):
    """Outputs, unit manifests, and folders are those of an undisturbed replacement, wherever the process was killed."""
    new = [f"{number:05d}" for number in range(4)]
    for unit in ("00000", "00001", "00009"):
        files.write_json(run.manifests / "words" / f"{unit}.json", {"former": 1})
    for unit in new:
        files.write_json(run.work_folder("words", KEY) / "units" / f"{unit}.json", {"new": 1})
    prepared = tmp_path / "prepared"
    run.root.rename(prepared)
    for change in itertools.count(1):
        shutil.copytree(prepared, run.root)
        killed = killed_before(change, lambda: install(run))
        if replacement(run).interrupted():
            replacement(run).resume()
        elif files.read_json(run.manifests / "words.json")["key"] == "former":  # it had not begun: all is as it was
            assert {path.name for path in (run.root / "words").iterdir()} == {"a.txt", "b.txt"}
            assert len(list((run.manifests / "words").glob("[!.]*.json"))) == 3
            install(run)
        assert {path.name: path.read_text() for path in (run.root / "words").iterdir()} == {"a.txt": "new"}
        units = sorted((run.manifests / "words").glob("[!.]*.json"))
        assert [file.stem for file in units] == new and all(files.read_json(file) == {"new": 1} for file in units)
        assert files.read_json(run.manifests / "words.json")["key"] == "new"
        assert not (run.root / ".work").exists() and not run.aside.exists()
        shutil.rmtree(run.root)
        if not killed:
            break
    assert change > 20


def test_stale_work_is_removed_unless_it_was_costly_or_of_another_stage(run):
    cheap, costly = run.work_folder("words", "a" * 12), run.work_folder("words", "b" * 12)
    other = run.root / ".work" / f"words-more-{KEY}"
    unit = {"key": "k", "outputs": {}, "started": 1}
    for folder, seconds in ((cheap, 10), (costly, 1000), (other, 0)):
        files.write_json(folder / "units" / "00000.json", {**unit, "seconds": seconds})
    replacement(run).tidy_work(keep_seconds=300, spent=lambda view: 0.0)
    assert not cheap.exists() and costly.exists() and other.exists()


def test_costly_work_that_no_unit_manifest_tells_of_stays_too(run, capsys):
    """A training is one unit: while it is unfinished, only its own record knows what it cost."""

    def spent(view) -> float:
        text = (view.at("words") / "seconds").read_text()
        if not text.isdigit():
            raise InputError("this row was changed")
        return float(text)

    works = {
        text: run.work_folder("words", letter * 12) for letter, text in zip("abc", ("10", "36000", "?"), strict=True)
    }
    for text, work in works.items():
        files.write_text(work / "words" / "seconds", text)
    shutil.rmtree(run.work_folder("words", KEY))
    replacement(run).tidy_work(keep_seconds=300, spent=spent)
    assert [text for text, work in works.items() if work.exists()] == ["36000", "?"]
    assert "costly unfinished work of other settings or inputs stays in .work/words-bbbb" in capsys.readouterr().err


def test_only_named_files_with_the_same_content_are_removed(run):
    outputs = entries(run, (run.root / "words").iterdir())
    files.write_text(run.root / "words" / "b.txt", "edited")
    files.write_text(run.root / "words" / "c.txt", "other")
    remove_named(run.root, {**outputs, "words/gone.txt": outputs["words/a.txt"]})
    assert sorted(path.name for path in (run.root / "words").iterdir()) == ["b.txt", "c.txt"]


class InModels(toys.Total):
    """Owns a folder in models/, which may be a link."""

    def reads(self, run):
        return {}

    def settings(self, run):
        return {"note": run.recipe.note}

    def owns(self, run):
        return ("models/x",)

    def run_unit(self, run, unit):
        files.write_text(run.at("models/x/weights"), run.recipe.note)
        return [run.at("models/x/weights")]


@pytest.fixture
def linked(folder):
    """Runs the stage with a setting; its folder is on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system")

    def run_with(note: str) -> Path:
        run, stage = toys.make_run(folder, f"note={note}"), InModels()
        assert StageRunner(run, stage, [stage]).execute() and StageRunner(run, stage, [stage]).finished()
        return run.root

    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        (folder / "run").mkdir()
        (folder / "run" / "models").symlink_to(elsewhere)
        yield run_with


def test_a_folder_on_another_file_system_is_named_before_the_work(linked, folder):
    root = linked("one")
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match="run/models: leads to another file system"):
        linked("other")
    assert sorted(root.rglob("*")) == before and linked("one")
    (root / "models" / "x" / "weights").write_text("edited by hand")
    with pytest.raises(InputError, match="run/models: leads to another file system"):
        linked("one")
    assert (root / "models" / "x" / "weights").read_text() == "edited by hand" and not list(root.glob("aside/*"))


def test_a_replacement_that_such_a_folder_stopped_is_completed_once_it_is_put_right(linked, folder, monkeypatch):
    root = linked("one")
    with monkeypatch.context() as patch:  # as before this was checked: the journal is written, and renaming fails
        patch.setattr("megatron_sbp.executor.replacement.check_one_file_system", lambda root, places: None)
        with pytest.raises(OSError, match="cross-device"):
            linked("other")
    for _ in range(2):
        with pytest.raises(InputError, match="run/models: leads to another file system"):
            linked("other")
    elsewhere = (root / "models").resolve()
    (root / "models").unlink()
    shutil.copytree(elsewhere, root / "models")
    linked("other")
    assert (root / "models" / "x" / "weights").read_text() == "other" and not (root / "aside").exists()


@pytest.mark.slow
def test_killed_while_new_outputs_take_their_place(folder, monkeypatch, tmp_path_factory):
    """Stops after every single rename and write of a replacement; the next call completes it."""
    plain = tmp_path_factory.mktemp("plain")
    (plain / "words.txt").write_text("\n".join(WORDS))
    undisturbed = toys.make_run(plain, "note=upper")
    execute(undisturbed)

    class Killed(BaseException):
        pass

    points = 0
    for stop in range(1, 60):
        run = toys.make_run(folder)
        execute(run)
        changed = toys.make_run(folder, "note=upper")
        steps, replaced = 0, Path.replace

        def replace(self, target, stop=stop, replaced=replaced):
            nonlocal steps
            result = replaced(self, target)
            if "install" in {frame.name for frame in traceback.extract_stack()}:
                steps += 1
                if steps == stop:
                    raise Killed
            return result

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            try:
                runner(changed, "words").execute()
            except Killed:
                points += 1
            else:
                break
        assert not runner(changed, "words").finished()
        execute(changed)
        assert contents(run) == contents(undisturbed)
        shutil.rmtree(run.root)
    assert points >= 8 and stop < 59
    assert not run.aside.exists() and not (run.root / ".work").exists()
