"""setup.py names what the package imports, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

IMPORT_NAMES = {
    "google": "protobuf",
    "huggingface_hub": "huggingface-hub",
    "megatron": "megatron-core",
    "pydantic_core": "pydantic",  # which requires exactly one version of it
    "sentence_transformers": "sentence-transformers",
    "yaml": "pyyaml",
}
"""Distributions whose import name is another one."""

INDIRECT = {
    "setuptools": "Megatron and torch build extensions with it",
    "tensorboard": "Megatron writes its events through torch.utils.tensorboard",
}
"""Required, though the package itself does not import it."""

OPTIONAL = {"apex", "lm_eval", "openai", "transformer_engine", "vllm"}
"""Extras: imported where they are installed."""


def imported() -> dict[str, str]:
    """Distribution of every third-party module that the package imports, with one file that does."""
    found = {}
    for file in sorted((ROOT / "megatron_sbp").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"megatron_sbp"} - OPTIONAL:
                found[IMPORT_NAMES.get(name, name)] = str(file.relative_to(ROOT))
    return found


def required() -> set[str]:
    """Names in install_requires."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.Call)]
    (listed,) = [word.value for call in calls for word in call.keywords if word.arg == "install_requires"]
    return {re.match(r"[A-Za-z0-9_.-]+", entry).group().lower() for entry in ast.literal_eval(listed)}


def test_everything_imported_is_required():
    missing = {name: file for name, file in imported().items() if name not in required()}
    assert not missing


def test_everything_required_is_imported():
    assert required() - set(imported()) == set(INDIRECT)


def test_the_lock_holds_what_is_required():
    locked = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    assert required() <= locked
