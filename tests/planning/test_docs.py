"""docs/plan.md lists keys that are there, and every key that is."""

from __future__ import annotations

import importlib.util
import itertools
import re
from pathlib import Path
from typing import Any

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


def test_the_printed_plan_is_what_is_printed():
    file = REPOSITORY / "scripts" / "printed_plan.py"
    spec = importlib.util.spec_from_file_location("printed_plan", file)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert program.TARGET.read_text() == program.page(), "it is old: python scripts/printed_plan.py"
