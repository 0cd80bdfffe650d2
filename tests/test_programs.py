"""Every program beside the package starts, and what it imports from the package is there.

Most programs import inside functions, so that --help is quick: a name that moved would show only when they are used.
"""

from __future__ import annotations

import ast
import json
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
    "near_duplicates.py": "--texts 500 --rounds 1",
    "neighbors.py": "--documents 3000 --dim 32 --k 10",
    "scaling.py": "--documents 3000 --words 60 --folder {folder}",
    "synthesis.py": "--batch-size 4 --repeats 1 --prompt-tokens 10 20 --max-new-tokens 8",
}


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def imported(file: Path) -> list[tuple[str, str | None]]:
    """What a program imports from the package: modules, and names in them."""
    found: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, None) for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == "megatron_sbp"]


CHECK = """
import importlib, json, sys
for module, name in json.load(sys.stdin):
    try:
        if name is None or not hasattr(importlib.import_module(module), name):
            importlib.import_module(module if name is None else f"{module}.{name}")
    except ImportError as error:
        print(module, name, error)
"""


def test_what_programs_import_from_the_package_is_there():
    wanted = {pair: name_of(file) for file in PROGRAMS for pair in imported(file)}
    assert len(wanted) > 50
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHECK], cwd=ROOT, input=json.dumps(list(wanted)), capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr[-2000:]}\n{wanted}"


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
