"""The runner of a stage: resume, invalidation, early cutoff, and damage."""

from __future__ import annotations

import os

import pytest
from support import stage_toys as toys
from support.toy_runs import WORDS, aside, calls, contents, execute, runner

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import free_bytes
from megatron_sbp.executor.retry import unexpected
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.stage import by_name


def test_everything_once_then_nothing(folder):
    run = toys.make_run(folder)
    done = execute(run)
    assert done == (
        [f"words {n:05d}" for n in range(7)] + ["words finish"] + [f"lengths {n:05d}" for n in range(7)] + ["total"]
    )
    assert (run.root / "total.txt").read_text() == str(sum(map(len, WORDS)))
    assert execute(run) == []
    assert not list((run.root / "words").glob("*.part"))  # intermediate files are gone
    manifest = files.read_json(run.manifests / "words.json")
    assert sorted(manifest["outputs"]) == sorted([f"words/{n:05d}.txt" for n in range(7)] + ["words/joint.txt"])
    assert manifest["outputs"]["words/00001.txt"]["sha256"] == files.sha256(run.root / "words" / "00001.txt")


def test_unfinished_input_is_named(folder):
    run = toys.make_run(folder)
    with pytest.raises(InputError, match="lengths needs the stage 'words', which is not finished"):
        runner(run, "lengths").execute()
    assert runner(run, "lengths").why().startswith("waiting")


def test_failed_unit_leaves_the_others_and_is_done_next_time(folder):
    (folder / "words.txt").write_text("\n".join([*WORDS[:3], "bad", *WORDS[4:]]))
    run = toys.make_run(folder)
    with pytest.raises(RuntimeError) as found:
        runner(run, "words").execute()
    assert unexpected(found.value).progress == "unit 00003"  # a crash loop is one that fails there again
    assert calls(run) == [f"words {n:05d}" for n in range(4)]
    assert runner(run, "words").why() == "3 of 7 units; missing: units 4-7"


def test_missing_unit_is_done_again_alone(folder):
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    (run.root / "lengths" / "00002.txt").unlink()
    assert not runner(run, "lengths").finished()
    assert execute(run) == ["lengths 00002"]
    assert contents(run) == before


def test_damaged_output_is_done_again(folder):
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    file = run.root / "lengths" / "00004.txt"
    file.write_text("8")  # the same size as "7"
    assert execute(run) == ["lengths 00004"]
    assert contents(run) == before
    assert aside(run) == {"00004.txt": "8"}  # not what the program wrote, so not its to delete
    (run.root / "total.txt").write_text("1234567")
    assert execute(run) == ["total"]
    assert contents(run) == before


def test_damaged_unit_with_intermediate_files(folder):
    """The parts that `finish` needs are gone once a stage is closed; they must come back when it has to close again."""
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    (run.root / "words" / "00002.txt").write_text("GAMMA")
    execute(run)
    assert contents(run) == before
    (run.root / "words" / "joint.txt").unlink()
    execute(run)
    assert contents(run) == before


def test_touched_output_is_read_again_but_not_redone(folder):
    run = toys.make_run(folder)
    execute(run)
    os.utime(run.root / "words" / "00002.txt", (1, 1))
    assert execute(run) == []


def test_changed_setting_reruns_what_depends_on_it(folder, capsys):
    run = toys.make_run(folder)
    execute(run)
    capsys.readouterr()
    done = execute(toys.make_run(folder, "note=upper"))
    # `lengths` reads words with other contents, though of the same lengths; `total` reads equal lengths: early cutoff
    assert [line.split()[0] for line in done] == ["words"] * 8 + ["lengths"] * 7
    said = capsys.readouterr().err
    assert "words: note was '', is 'upper'" in said and "are kept until it has finished" in said
    assert (run.root / "words" / "00001.txt").read_text() == "BE"


def test_equal_output_leaves_dependents_alone(folder):
    """A setting that changes the stage's key but not the files that others read."""
    run = toys.make_run(folder)
    execute(run)
    done = execute(toys.make_run(folder, "seed=2"))
    assert {line.split()[0] for line in done} == {"words"}
    assert (run.root / "words" / "joint.txt").read_text().startswith("2 ")


def test_changed_external_file(folder, capsys):
    run = toys.make_run(folder)
    execute(run)
    (folder / "words.txt").write_text("\n".join([*WORDS[:6], "theta"]))
    done = execute(run)
    assert "words 00006" in done and "total" in done
    assert (run.root / "total.txt").read_text() == str(sum(map(len, WORDS)) + 2)
    assert "changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*WORDS[:-1], "omega"], "words.txt has changed since words began"),
        ([*WORDS, "theta"], "words.txt has changed since words began"),
        (WORDS, None),  # only touched
    ],
)
def test_an_external_file_that_changes_while_units_read_it(folder, monkeypatch, words, told):
    """Otherwise the manifest would have the digest of the former file, and everything later is made of a mixture."""
    plain = toys.Words.run_unit

    def run_unit(self, run, unit):
        if unit == "00003":
            (folder / "words.txt").write_text("\n".join(words))
        return plain(self, run, unit)

    run = toys.make_run(folder)
    with monkeypatch.context() as patch:
        patch.setattr(toys.Words, "run_unit", run_unit)
        if told is None:
            assert runner(run, "words").execute()
            return
        with pytest.raises(InputError, match=told):
            runner(run, "words").execute()
    assert not run.stage_manifest("words").exists()
    execute(run)
    assert [(run.root / "words" / f"{n:05d}.txt").read_text() for n in range(len(words))] == words


def test_fewer_units_leave_no_stale_files(folder):
    run = toys.make_run(folder)
    execute(run)
    (folder / "words.txt").write_text("\n".join(WORDS[:4]))
    execute(run)
    assert len(list((run.root / "words").glob("[0-9]*.txt"))) == 4
    assert len(list((run.root / "lengths").glob("*.txt"))) == 4
    assert (run.root / "total.txt").read_text() == str(sum(map(len, WORDS[:4])))


def test_shards_in_turn(folder):
    run = toys.make_run(folder)
    assert not runner(run, "words").execute((2, 3))
    assert calls(run) == ["words 00001", "words 00004"]
    assert runner(run, "words").why() == "2 of 7 units; missing: units 1,3-4,6-7"
    assert not runner(run, "words").execute((1, 3))
    assert runner(run, "words").execute((3, 3))
    assert runner(run, "words").finished()
    assert runner(run, "words").execute((9, 9))  # more shards than units: nothing to do


def test_manifest_cut_off_is_named(folder):
    """Manifests are written atomically; one that is damaged all the same is named, not taken for unfinished work."""
    run = toys.make_run(folder)
    execute(run)
    file = run.manifests / "words.json"
    file.write_text(file.read_text()[:50])
    with pytest.raises(InputError, match=r"words\.json: this manifest is damaged.*not valid JSON.*--discard words"):
        runner(run, "words").finished()


def test_why(folder):
    run = toys.make_run(folder)
    assert runner(run, "words").why() == "not started"
    execute(run)
    assert runner(run, "words").why().startswith("finished in ")
    assert runner(toys.make_run(folder, "note=upper"), "words").why().startswith("stale")


def test_free_bytes_of_a_folder_to_come(tmp_path):
    assert free_bytes(tmp_path / "not" / "there") == pytest.approx(free_bytes(tmp_path), rel=0.05)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"key": 3}', '{"outputs": {"/etc/passwd": {}}}'])
def test_damaged_manifests(folder, text):
    """A stage's own manifest is named with the way out; a unit's is done again; a note of progress is of no matter."""
    run = toys.make_run(folder)
    execute(run)
    before = contents(run)
    (run.manifests / "words.json").write_text(text)
    with pytest.raises(InputError, match=r"words\.json: .*--discard words"):
        runner(run, "words").execute()
    with pytest.raises(InputError, match=r"words\.json: .*--discard words"):
        runner(run, "lengths").execute()
    assert runner(run, "words").why().startswith("damaged")
    graph = toys.graph()
    assert StageRunner(run, by_name(graph, "words"), graph, discard=True).execute()
    assert {name: contents(run)[name] for name in before} == before
    (run.manifests / "lengths" / "00001.json").write_text(text)
    (run.manifests / "lengths" / "started.json").write_text(text)
    (run.manifests / "external.json").write_text(text)
    execute(run)
    (run.manifests / "lengths.json").unlink()
    execute(run)
    assert {name: contents(run)[name] for name in before} == before
