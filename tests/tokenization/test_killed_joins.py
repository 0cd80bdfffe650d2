"""Joins that are really killed at random moments: what was there stays whole, and the next one ends as an undisturbed
one, with nothing left over."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from megatron_sbp.base import joining
from megatron_sbp.tokenization.documents import preprocess_documents
from megatron_sbp.tokenization.indexed import merge_indexed, open_indexed, write_indexed
from megatron_sbp.tokenization.tokenizer import save_tokenizer

pytestmark = pytest.mark.slow

PARTS, TOKENS, BLOCK = 12, 200_000, 100_000


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """5 MB in twelve parts, which are copied in blocks of 100 kB by four threads."""
    monkeypatch.setattr(joining, "BLOCK", BLOCK)
    monkeypatch.setattr(joining, "_BUFFER", 4096)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    made = [tmp_path / "parts" / str(number) for number in range(PARTS)]
    for number, prefix in enumerate(made):
        chosen = np.random.default_rng(number)
        with write_indexed(prefix, np.uint16) as writer:
            lengths = np.full(TOKENS // 100, 100)
            writer.add(chosen.integers(0, 60_000, TOKENS), lengths)
    return made


def killed_after(seconds: float, work) -> bool:
    """Does `work` in a copy of this process and kills it so long after it began. Returns whether it was killed."""
    begun, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, b"x")
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(told)
    os.read(begun, 1)
    os.close(begun)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 8))])
def test_a_join_killed_at_random_moments(tmp_path, parts, seed):
    draw = random.Random(seed)
    given = contents(tmp_path / "parts")
    out, former = tmp_path / "out", tmp_path / "former"
    merge_indexed(former / "all", parts[:5], np.uint16)
    began = time.monotonic()
    merge_indexed(tmp_path / "undisturbed" / "all", parts, np.uint16)
    lasted = time.monotonic() - began
    whole, before = contents(tmp_path / "undisturbed"), contents(former)
    cut_short = 0
    for _ in range(12):
        merge_indexed(out / "all", parts[:5], np.uint16)
        assert contents(out) == before
        killed = killed_after(draw.uniform(0, 1.1 * lasted), lambda: merge_indexed(out / "all", parts, np.uint16))
        found = contents(out)
        named = {name: data for name, data in found.items() if not name.startswith(".")}
        if "all.idx" in named:  # else it was killed between two renames
            assert named in (before, whole)
            open_indexed(out / "all")
        cut_short += killed and len(found) > len(named)
        merge_indexed(out / "all", parts, np.uint16)
        assert contents(out) == whole, "the same bytes, and nothing left over"
    assert cut_short > 0, "no kill met a join in its middle"
    assert contents(tmp_path / "parts") == given


PROGRAM = """
import sys
from pathlib import Path
from megatron_sbp.tokenization import pieces
from megatron_sbp.tokenization.documents import preprocess_documents
from megatron_sbp.tokenization.tokenizer import load_tokenizer
if __name__ == "__main__":
    pieces.IN_PROCESSES = 0
    pieces.os.sched_getaffinity = lambda _: {0, 1}
    folder = Path(sys.argv[1])
    print("begun", flush=True)
    preprocess_documents([f"{folder}/corpus/*.jsonl"], folder / "out" / "all", load_tokenizer(folder / "tokenizer"))
"""


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 6))])
def test_processes_that_tokenize_killed_with_the_one_that_started_them(tmp_path, tokenizer, foldoc, seed):
    save_tokenizer(tmp_path / "tokenizer", tokenizer)
    (tmp_path / "corpus").mkdir()
    for number in range(6):
        rows = "".join(json.dumps({"text": text}) + "\n" for text in foldoc[number::6] * 4)
        (tmp_path / "corpus" / f"{number}.jsonl").write_text(rows)
    (tmp_path / "program.py").write_text(PROGRAM)
    preprocess_documents([str(tmp_path / "corpus" / "*.jsonl")], tmp_path / "undisturbed" / "all", tokenizer)
    whole = contents(tmp_path / "undisturbed")
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "begun\n"
    until = time.monotonic() + 60
    while not (started := [*(tmp_path / "out").rglob("*.idx"), *(tmp_path / "out").rglob(".*.partial*")]):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    time.sleep(random.Random(seed).uniform(0, 0.1))
    process.kill()
    process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == [], "no process outlives the one that started it"
    assert started
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert contents(tmp_path / "out") == whole
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []
