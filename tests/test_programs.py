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
SMALL = {  # at smoke size: seconds to two minutes
    "cpu_training.py": "--rounds 1 --steps 6 --warm-up 2",
    "embedding.py": "--documents 20 --rounds 1 --bf16",
    "many_files.py": "--documents 500 --files 3 600 --words 30 --folder {folder}",
    "near_duplicates.py": "--texts 500 --rounds 1",
    "neighbors.py": "--documents 3000 --dim 32 --k 10",
    "scaling.py": "--documents 3000 --words 60 --folder {folder}",
    "synthesis.py": "--batch-size 4 --repeats 1 --prompt-tokens 10 20 --max-new-tokens 8",
    "token_ids.py": "--documents 200 --rounds 1 --vocab-sizes 600",
}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("program", WITH_HELP, ids=name_of)
def test_it_says_what_it_is_for(program):
    done = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout and len(done.stdout.splitlines()) > 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("program", SMALL)
def test_a_benchmark_at_smoke_size(program, tmp_path):
    words = [sys.executable, str(ROOT / "benchmarks" / program), *SMALL[program].format(folder=tmp_path).split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    if "is not installed" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("|") > 10
