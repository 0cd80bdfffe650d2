"""Several processes on one stage, some of them killed: every unit is done once, and nothing partial is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import stage_toys as toys
from support.toy_runs import WORDS, calls, contents, execute, runner

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError

pytestmark = pytest.mark.slow


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


def test_other_settings_do_not_take_the_folder_from_a_process_at_work(folder):
    """What it had done was moved aside or removed, and it ended with an error."""
    run = toys.make_run(folder)
    process = start(folder, "1/1", 0.1)
    while not calls(run):
        time.sleep(0.01)
    changed = runner(toys.make_run(folder, "note=upper"), "words")
    for attempt in (changed.check, changed.execute):  # `sbp run` checks before it writes the recipe into the folder
        with pytest.raises(InputError, match=r"at work on words \(0000\d\) .*note was '', is 'upper'"):
            attempt()
    assert process.wait(timeout=60) == 0, process.stderr.read()
    assert calls(run) == [f"words {n:05d}" for n in range(7)] + ["words finish"] and runner(run, "words").finished()


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
