"""docs/not_tried.md: it lists every test and every benchmark for GPUs, and what its commands name is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "not_tried.md").read_text()
COMMANDS = [command for command in re.findall(r"`([^`]+)`", PAGE) if command.startswith(("pytest ", "python ", "SBP_"))]


def test_every_test_for_gpus_is_listed():
    files = sorted((ROOT / "tests" / "gpu").glob("test_*.py"))
    assert len(files) >= 4
    assert not [file.name for file in files if f"tests/gpu/{file.name}" not in PAGE]


def test_every_benchmark_that_takes_a_gpu_is_listed():
    takes = [file for file in (ROOT / "benchmarks").glob("*.py") if 'choices=("cpu", "cuda")' in file.read_text()]
    assert len(takes) >= 5
    commands = PAGE.split("`") + PAGE.splitlines()
    assert not [file.name for file in takes if not any(f"python benchmarks/{file.name}" in each for each in commands)]


def test_what_the_commands_name_is_there():
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        words = command.split()
        for word in words:
            if word.startswith(("tests/", "benchmarks/", "examples/")):
                assert (ROOT / word).exists(), command
        if words[0] == "python":
            program = (ROOT / words[1]).read_text()
            assert all(f'"{word}"' in program for word in words if word.startswith("--")), command


def test_every_choice_of_tests_by_name_chooses_some():
    chosen = re.findall(r"pytest (\S+) -k (\w+)", PAGE)
    assert len(chosen) >= 3
    for place, part in chosen:
        files = sorted((ROOT / place).glob("test_*.py")) if (ROOT / place).is_dir() else [ROOT / place]
        text = "".join(file.read_text() for file in files)
        names = re.findall(r"def (test_\w+)", text) + re.findall(r'"(\w+)"', text)  # tests, and their parameters
        assert any(part in name for name in names), part
