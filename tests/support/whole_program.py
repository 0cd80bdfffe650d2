"""The whole program on a tiny recipe, as its user runs it: helpers of tests/end_to_end."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "tests" / "end_to_end" / "recipe.yaml"

ONE_WORKER = "launch.workers=1"
"""Of the undisturbed run: at its size a second one takes longer to start than its share takes. Other tests have two."""

DETERMINED = (
    "documents/**/*.zst",
    "tokenizer/*",
    "tokens/*.bin",
    "tokens/*.idx",
    "pairs/*.parquet",
    "synthetic/**/*.zst",
)
"""Files that must come out byte for byte the same, whatever happened on the way."""


def environment() -> dict[str, str]:
    """As on a machine without a network."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}


def sbp(*words: str | Path) -> list[str]:
    """The command line of `sbp`."""
    return [sys.executable, "-m", "megatron_sbp", *map(str, words)]


def run_sbp(*words: str | Path, status: int = 0) -> str:
    """Runs `sbp` to its end; returns what it printed."""
    done = subprocess.run(sbp(*words), env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == status, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def digests(folder: Path, patterns: tuple[str, ...] = DETERMINED) -> dict[str, str]:
    """SHA-256 of the determined files below a run folder."""
    found = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
