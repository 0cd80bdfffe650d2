"""Tests mirror the package: what is in megatron_sbp/A/B.py is tested in tests/A/test_B.py."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_module_has_its_test_file():
    modules = [file.relative_to(ROOT / "megatron_sbp") for file in (ROOT / "megatron_sbp").rglob("*.py")]
    places = {
        Path("tests", module.parent, f"test_{module.stem.strip('_')}.py")
        for module in modules
        if module.name != "__init__.py"
    }
    assert len(places) > 300
    missing = sorted(str(place) for place in places if not (ROOT / place).exists())
    assert not missing, f"not there: {', '.join(missing)}"


NAMED_AFTER_WHAT_THEY_SERVE = {"stages", "doctor", "sections"}
"""A verb is a file of stages/, a subject one of doctor/: `stages/judge.py` calls `evaluation/judge.py`. A file of
recipe/sections/ has the settings of a package."""

COMPLETED_BY_THEIR_PACKAGE = {
    "audit", "contamination", "corpus", "corpus_index", "harness", "hugging_face", "judging", "names",
    "numbers", "quality", "questions", "reading", "recall", "state", "text", "time_limit", "vocabulary",
}  # fmt: skip
"""`planning/numbers.py` and `report/numbers.py`: the same done to, or said of, what the package is about."""


def test_a_module_name_says_enough():
    """There were two sampling.py, two rules.py, and two standalone.py, none of which said of what."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "megatron_sbp").rglob("*.py")):
        if not file.stem.startswith("__") and file.parent.name not in NAMED_AFTER_WHAT_THEY_SERVE:
            found.setdefault(file.stem, []).append(str(file.relative_to(ROOT)))
    twice = {name: places for name, places in found.items() if len(places) > 1}
    unclear = {name: places for name, places in twice.items() if name not in COMPLETED_BY_THEIR_PACKAGE}
    assert not unclear, f"say which one: {unclear}"
    assert twice.keys() >= COMPLETED_BY_THEIR_PACKAGE, "an exception that is none any more"


def test_settings_go_by_keyword_where_stages_are_run():
    """`sbp run` passed eight arguments by their places."""
    found = []
    for file in (file for layer in ("cli", "executor") for file in (ROOT / "megatron_sbp" / layer).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                own = [given.arg for given in (*node.args.posonlyargs, *node.args.args) if given.arg != "self"]
                if len(own) > 5:
                    found.append(f"{file.name}:{node.lineno}: {node.name}({', '.join(own)})")
    assert not found, found
