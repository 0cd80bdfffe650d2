"""Megatron's global state has one reader, training/megatron/state.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3] / "megatron_sbp"
READER = ROOT / "training" / "megatron" / "state.py"

MODULES = (
    "megatron.core.mpu",
    "megatron.core.num_microbatches_calculator",
    "megatron.core.parallel_state",
    "megatron.core.rerun_state_machine",
    "megatron.training.global_vars",
)
"""Modules that are, or read, global state."""

NAMES = (
    "get_adlr_autoresume", "get_args", "get_num_microbatches", "get_one_logger", "get_signal_handler",
    "get_tensorboard_writer", "get_timers", "get_tokenizer", "get_wandb_writer", "parse_and_validate_args",
    "use_mpu_process_groups",
)  # fmt: skip
"""The same by functions that Megatron offers in other places, too."""

UNMISTAKABLE = ("get_num_microbatches", "get_timers", "parse_and_validate_args", "use_mpu_process_groups")
"""Those that nothing else has."""


def readings(source: str) -> Iterator[str]:
    """What a module takes of Megatron's global state, with the line."""
    ours = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            whole = ast.unparse(node)
            if whole in MODULES or (whole.startswith("megatron.") and node.attr in NAMES):
                imported = [whole]
            else:  # `typing.get_args`, `self.get_tokenizer`
                imported = [f"megatron.{node.attr}"] if node.attr in UNMISTAKABLE else []
        else:
            continue
        for name in imported:
            if not name.startswith("megatron."):
                continue
            if name.startswith(MODULES) or name.split(".")[-1] in NAMES:
                ours.add((node.lineno, name))
    for line, name in sorted(ours):
        yield f"{line}: {name}"


def test_state_is_read_in_one_place():
    found = {
        str(file.relative_to(ROOT)): list(readings(file.read_text(encoding="utf-8")))
        for file in sorted(ROOT.rglob("*.py"))
        if file != READER
    }
    wrong = {file: lines for file, lines in found.items() if lines}
    assert not wrong, f"ask megatron_sbp.training.megatron.state instead: {wrong}"
    assert list(readings(READER.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "line",
    [
        "from megatron.core import mpu",
        "from megatron.core import parallel_state",
        "import megatron.core.parallel_state as places",
        "def f():\n    from megatron.training.global_vars import get_wandb_writer",
        "from megatron.training import get_args",
        "from megatron.core.num_microbatches_calculator import get_num_microbatches",
        "groups = ProcessGroupCollection.use_mpu_process_groups()",
        "from megatron.training import get_tokenizer",
        "megatron.training.get_args()",
        "megatron.core.parallel_state.get_data_parallel_rank()",
    ],
)
def test_a_reading_is_found(line):
    assert len(list(readings(line))) == 1


def test_other_imports_are_none():
    assert not list(readings("from typing import get_args\nfrom megatron.core.utils import divide"))
