"""The stage engine: resume, invalidation, early cutoff, damage, several processes, and being killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest
from support import stage_toys as toys

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import free_bytes
from megatron_sbp.executor.retry import unexpected
from megatron_sbp.executor.runner import StageRunner
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage, by_name

pytestmark = pytest.mark.slow

WORDS = ["alpha", "be", "gamma", "delta", "epsilon", "zeta", "eta"]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    return tmp_path


def runner(run: Run, name: str) -> StageRunner:
    graph = toys.graph()
    return StageRunner(run, by_name(graph, name), graph)


def execute(run: Run) -> list[str]:
    """Runs all stages; returns what was really done."""
    (run.root / "calls").unlink(missing_ok=True)
    for stage in toys.graph():
        assert runner(run, stage.name).execute()
    return calls(run)


def calls(run: Run) -> list[str]:
    file = run.root / "calls"
    return file.read_text().splitlines() if file.exists() else []


def contents(run: Run) -> dict[str, bytes]:
    """Data files of the run folder, not manifests, which hold times."""
    skip = ("stages", "calls", "aside")
    found = (path for path in run.root.rglob("*") if path.is_file() and run.relative(path).split("/")[0] not in skip)
    return {run.relative(path): path.read_bytes() for path in found}


def aside(run: Run) -> dict[str, str]:
    """Text of the files that were moved out of the way, by name."""
    return {path.name: path.read_text() for path in run.aside.rglob("*") if path.is_file()}


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


def start(folder: Path, shard: str, seconds: float, stage: str = "words") -> subprocess.Popen:
    program = str(Path(__file__).parents[1] / "support" / "stage_toys.py")
    environment = {
        **os.environ,
        "TOY_SECONDS": str(seconds),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        [sys.executable, program, stage, str(folder), shard], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_processes_at_once(folder):
    """Three shards, and a fourth process that wants all of it: every unit is done once, and one of them closes."""
    run = toys.make_run(folder)
    processes = [start(folder, shard, 0.02) for shard in ("1/3", "2/3", "3/3", "1/1")]
    for process in processes:
        assert process.wait(timeout=60) == 0, process.stderr.read()
    assert sorted(calls(run)) == sorted([f"words {n:05d}" for n in range(7)] + ["words finish"])
    assert runner(run, "words").finished()


def test_a_unit_is_not_done_again_when_another_process_closes_the_stage_first(folder, monkeypatch):
    """Finalizing removes files that only it needed; a process that waited for a unit's lock must not redo the unit."""
    run = toys.make_run(folder)
    late = runner(run, "words")
    lock = late._lock

    def overtaken(name):
        if name == "00006":
            execute(run)
        return lock(name)

    monkeypatch.setattr(late, "_lock", overtaken)
    assert late.execute((7, 7))
    assert calls(run).count("words 00006") == 1
    assert runner(run, "words").finished()


def test_digests_of_external_files_are_written_by_one_process_at_a_time(folder):
    """Processes that start together all find no remembered digests."""
    run = toys.make_run(folder)
    program = (
        "import sys; from pathlib import Path\n"
        "from megatron_sbp.executor.external import external_digests; from megatron_sbp.stages.run_folder import Run\n"
        "from megatron_sbp.recipe import load_recipe\n"
        "run = Run.of(load_recipe(sys.argv[1], ['run_folder=' + sys.argv[2]]))\n"
        "sys.stdin.read()\n"
        "for number in range(40):\n"
        "    file = Path(sys.argv[3], f'{sys.argv[4]}-{number}'); file.write_text('x')\n"
        "    external_digests(run, [file])\n"
    )
    (folder / "outside").mkdir()
    words = [sys.executable, "-c", program, str(run.recipe.source), str(run.root), str(folder / "outside")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    processes = [
        subprocess.Popen([*words, str(number)], env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for process in processes:
        process.stdin.close()
    for process in processes:
        assert process.wait(timeout=60) == 0, process.stderr.read().decode()
    assert len(files.read_json(run.manifests / "external.json")) == 160


def test_killed_at_random_instants(folder, tmp_path_factory):
    """SIGKILL again and again, then to the end: the bytes of an undisturbed run, nothing partial left."""
    plain = tmp_path_factory.mktemp("plain")
    (plain / "words.txt").write_text("\n".join(WORDS))
    undisturbed = toys.make_run(plain)
    execute(undisturbed)
    run = toys.make_run(folder)
    draw = random.Random(7)
    killed = 0
    for _ in range(10):
        process = start(folder, "1/1", 0.02)
        deadline = time.monotonic() + 30
        while not calls(run) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 1
    execute(run)
    assert contents(run) == contents(undisturbed)


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


# -- what is replaced, and what is kept


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


def test_a_stage_that_checks_its_own_work_continues_without_a_manifest(folder, monkeypatch):
    run = toys.make_run(folder)
    assert not runner(run, "words").execute((1, 2))
    shutil.rmtree(run.manifests)
    monkeypatch.setattr(toys.Words, "checks_own_work", True)
    assert runner(run, "words").execute() and not run.aside.exists()


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


def test_a_removed_lock_file_does_not_let_two_in(folder):
    """Who waits for a lock whose file was removed does not take the removed file's lock for the real one."""
    run = toys.make_run(folder)
    first = start(folder, "1/1", 0.15)
    deadline = time.monotonic() + 30
    while not calls(run) and time.monotonic() < deadline:
        time.sleep(0.01)
    second = start(folder, "1/1", 0.0)
    time.sleep(0.1)
    for lock in run.manifests.glob("words/.*.lock"):
        lock.unlink()
    third = start(folder, "1/1", 0.0)
    for process in (first, second, third):
        assert process.wait(timeout=60) == 0, process.stderr.read()
    assert runner(run, "words").finished()
    execute(run)
    assert (run.root / "total.txt").read_text() == str(sum(map(len, WORDS)))
    assert not list(files.partial_files(run.root))
