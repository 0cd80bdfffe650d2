"""docs/plan.md lists keys that are there, and every key that is; pages that programs write are not old."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_sbp.planning.plan import make_plan
from megatron_sbp.recipe import load_recipe

REPOSITORY = Path(__file__).parents[2]
PLACEHOLDERS = {"ARM": "sbp", "NAME": "random", "SHARDED": "embed", "STAGE": "tune", "COUNTED": "tokenize"}


def documented() -> list[list[str]]:
    """The keys of the table, braces expanded: [arms, ARM, flops]."""
    table = (REPOSITORY / "docs" / "plan.md").read_text().partition("## Keys")[2].partition("## Warnings")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    found = []
    for key in itertools.chain.from_iterable(re.findall(r"`([^`]+)`", cell) for cell in cells):
        choices = [re.fullmatch(r"\{(.*)\}", part) for part in re.findall(r"\{[^}]*\}|[^.]+", key)]
        parts = re.findall(r"\{[^}]*\}|[^.]+", key)
        each = [match[1].split(",") if match else [part] for match, part in zip(choices, parts, strict=True)]
        found += [[word for word in path if word != "..."] for path in itertools.product(*each) if "..." not in path]
    return found


def test_every_documented_key_is_there():
    sample = {"file": "corpus.jsonl", "documents": 2, "bytes": 3600.0, "corpus": None}
    made = make_plan(load_recipe(REPOSITORY / "examples" / "sbp_100m_2b" / "recipe.yaml"), sample=sample)
    paths = documented()
    assert len(paths) > 60
    for path in paths:
        value: Any = made
        for word in path:
            value = value[PLACEHOLDERS.get(word, word)]


def test_every_key_is_documented():
    made = make_plan(load_recipe(REPOSITORY / "examples" / "sbp_100m_2b" / "recipe.yaml"))
    assert set(made) == {path[0] for path in documented()}


@pytest.mark.parametrize("name", ["printed_plan", "synthesis_cost"])
def test_a_written_page_is_what_its_program_writes(name):
    program = loaded(name)
    assert program.TARGET.read_text() == program.page(), f"it is old: python scripts/{name}.py"


def test_the_costs_of_synthesis_are_those_of_the_plan_command():
    program = loaded("synthesis_cost")
    command = ["plan", "examples/sbp_3b_1t/recipe.yaml", "synthesis.tokens=250_000_000_000", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "megatron_sbp", *command], cwd=REPOSITORY, capture_output=True, check=True
    )
    told = json.loads(done.stdout)
    row = next(line for line in program.page().splitlines() if line.startswith("| 250B") and "more tokens" in line)
    hours, wall = told["synthesis"]["gpu_hours"], told["time"]["stages"]["synthesize"]
    assert f"| {hours:,.0f} (" in row and f"| {wall:.1f} h |" in row
    assert f"| {told['synthesis']['generations'] / 1e6:.1f}M |" in row


def test_a_page_of_another_recipe_is_found_old(tmp_path, monkeypatch):
    program = loaded("synthesis_cost")
    monkeypatch.setattr(sys, "argv", ["synthesis_cost.py", "--check"])
    assert program.main() == 0
    monkeypatch.setattr(program, "ROWS", program.ROWS[:2])
    assert program.main() == 1
    monkeypatch.setattr(program, "TARGET", tmp_path / "none.md")
    assert program.main() == 1


def loaded(name: str) -> ModuleType:
    """A program of scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    assert spec and spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program
