"""Files in a stage's place that no manifest names, or that have changed since, are never deleted."""

from __future__ import annotations

import shutil

import pytest
from support import stage_toys as toys
from support.toy_runs import aside, contents, execute, runner

from megatron_sbp.base import files


def test_files_of_others_are_never_deleted(folder):
    """A file in a stage's folder that no manifest names outlives a replacement, out of the way."""
    run = toys.make_run(folder)
    execute(run)
    (run.root / "words" / "mine.md").write_text("my notes")
    (run.root / "words" / "deep").mkdir()
    (run.root / "words" / "deep" / "mine.txt").write_text("more notes")
    execute(toys.make_run(folder, "note=upper"))
    assert aside(run) == {"mine.md": "my notes", "mine.txt": "more notes"}


def test_a_changed_file_is_not_deleted_with_the_rest(folder):
    run = toys.make_run(folder)
    execute(run)
    (run.root / "words" / "00003.txt").write_text("edited by hand")
    execute(toys.make_run(folder, "note=upper"))
    assert aside(run) == {"00003.txt": "edited by hand"}


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_changed_while_the_stage_is_unfinished_is_kept(folder, beside, monkeypatch):
    if beside:
        execute(toys.make_run(folder))
    run = toys.make_run(folder, *(["note=upper"] if beside else []))
    assert not runner(run, "words").execute((1, 2))
    made = next(run.root.glob(".work/*/words/00000.txt")) if beside else run.root / "words" / "00000.txt"
    made.write_text("edited by hand")
    with monkeypatch.context() as patch:
        patch.setattr(toys.hashlib, "sha256", None)  # the unit fails between its two files
        with pytest.raises(TypeError):
            runner(run, "words").execute()
    assert runner(run, "words").execute()
    assert aside(run) == {"00000.txt": "edited by hand"}
    assert (run.root / "words" / "00000.txt").read_text() == ("ALPHA" if beside else "alpha")


def test_a_changed_joint_file_is_kept_where_the_units_stay(folder):
    run = toys.make_run(folder)
    execute(run)
    (run.root / "words" / "joint.txt").write_text("edited by hand")
    changed = toys.make_run(folder, "seed=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toys.Words, "intermediate", lambda self, run, path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # the new joint file is written, and no manifest names it yet
            runner(changed, "words").execute()
    assert runner(changed, "words").execute() and runner(changed, "words").finished()
    assert aside(run) == {"joint.txt": "edited by hand"}


def test_files_that_no_manifest_tells_of_are_kept(folder, capsys):
    """Their origin is unknown: the manifests were removed, or another program wrote them."""
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    shutil.rmtree(run.manifests)
    files.write_text(run.root / "words" / "joint.txt", "mine")
    execute(run)
    assert contents(run) == before
    assert aside(run)["joint.txt"] == "mine" and aside(run)["total.txt"] == before["total.txt"].decode()
    assert "words: no manifest describes the files in its place" in capsys.readouterr().err


def test_a_place_prepared_for_outputs_stays(folder, tmp_path_factory):
    """An empty folder, or a link to one where there is more room."""
    run = toys.make_run(folder)
    room = tmp_path_factory.mktemp("room")
    run.root.mkdir()
    (run.root / "words").symlink_to(room)
    execute(run)
    assert (room / "joint.txt").exists() and not run.aside.exists()
