"""Every program beside the package starts. That what it imports is there, inside functions too: test_imports.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "tools", "scripts", "examples")
PROGRAMS = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
WITH_HELP = [file for file in PROGRAMS if "argparse" in file.read_text() or "command_line.parser" in file.read_text()]
SMALL = [  # at smoke size: seconds to two minutes
    ("attention.py", "--sequences 64 --precisions fp32 --turns 1"),
    ("cpu_training.py", "--rounds 1 --steps 6 --warm-up 2"),
    ("embedding.py", "--documents 20 --rounds 1 --bf16"),
    ("export_memory.py", "--layers 2 --hidden-size 128 --ffn-hidden-size 256 --vocabulary 512 --folder {folder}"),
    ("filter_rules.py", "--texts 200 --rounds 1 --vocab-size 600"),
    ("gpu_ladder.py", "--device cpu --rungs 1B --steps 3 --warm-up 1 --ceiling-seconds 0.1 --tokens 40000 --threads 1"),
    ("loader.py", "read --documents 400 --samples 40 --rounds 1 --lengths 512 --folder {folder}"),
    ("loader.py", "start --documents 2000 --pairs 500 --epochs 6 --lengths 512 --rounds 1 --folder {folder}"),
    ("loader.py", "pack --documents 400 --pairs 500 --lengths 512 --rounds 1 --folder {folder}"),
    ("many_files.py", "--documents 500 --files 3 600 --words 30 --folder {folder}"),
    ("near_duplicates.py", "--texts 500 --rounds 1"),
    ("neighbors.py", "--documents 3000 --dim 32 --k 10"),
    ("plan_start.py", "--starts 1"),
    ("scaling.py", "--documents 3000 --words 60 --folder {folder}"),
    ("shingles.py", "--pairs 200 --rounds 1"),
    ("simulated_graph.py", "--documents 600000 --units 20 --inputs 10"),
    ("synthesis.py", "--texts 8 --batch-size 4 --repeats 1 --max-new-tokens 8"),
    ("token_ids.py", "--documents 200 --rounds 1 --vocab-sizes 600"),
    ("tokenizing.py", "--copies 1 2 --rounds 1"),
    ("training_step.py", "--starts 1 --steps 4 --warm-up 1 --tokens 40000"),
]
QUICK = {
    "filter_rules.py", "loader.py pack", "loader.py start", "many_files.py", "neighbors.py", "plan_start.py",
    "shingles.py", "simulated_graph.py", "synthesis.py", "token_ids.py",
}  # fmt: skip
"""Run in every CI, 37 CPU seconds together; the others with `make test-all`."""
HELPERS = {"generated_page.py", "plain_training.py", "training_step_rank.py"}
"""Started or imported by other programs."""


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("program", [file for file in WITH_HELP if file.name not in HELPERS], ids=name_of)
def test_it_says_what_it_is_for(program):
    done = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout and len(done.stdout.splitlines()) > 3


def cases() -> list:
    marks = {True: [], False: [pytest.mark.exhaustive]}
    return [
        pytest.param(program, words, marks=marks[bool(QUICK & {program, case})], id=case)
        for program, words in SMALL
        for case in [f"{program} {words.split()[0]}"]
    ]


def test_every_benchmark_runs_in_a_test():
    programs = {file.name for file in WITH_HELP if file.parent.name == "benchmarks"} - HELPERS
    cases = {program for program, _ in SMALL} | {f"{program} {words.split()[0]}" for program, words in SMALL}
    assert cases >= QUICK
    assert programs - {"vllm_engine.py", "engines_agree.py"} == {program for program, _ in SMALL}


@pytest.mark.parametrize(("program", "words"), cases())
def test_a_benchmark_at_smoke_size(program, words, tmp_path):
    done = run([sys.executable, ROOT / "benchmarks" / program, *words.format(folder=tmp_path).split()])
    if "is not installed" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|") > 10


@pytest.mark.exhaustive
def test_the_benchmark_of_vllm_at_smoke_size(vllm_python):
    words = "--texts 4 --repeats 1 --prompt-tokens 10 20 --max-new-tokens 8 --mean-tokens 6".split()
    done = run([vllm_python, ROOT / "benchmarks" / "vllm_engine.py", *words], VLLM_CPU_KVCACHE_SPACE="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|") > 10


def run(words: list, **further: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **further}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
