"""metrics.jsonl: losses and rates of a training, one row per log interval and per evaluation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from megatron_sbp import files


class Metrics:
    """Appends rows to models/NAME/metrics.jsonl; each row is one write, so a kill cuts off at most the last one.

    Rows: {"kind": "train" | "valid", "iteration", "samples", "tokens", "loss", ...}.
    """

    def __init__(self, path: Path):
        self.path = path

    def rewind(self, iteration: int) -> None:
        """Drops the rows after `iteration`: a resumed training writes them again."""
        kept = [row for row in read_metrics(self.path) if row["iteration"] <= iteration]
        files.write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        """Writes one row."""
        line = (json.dumps(row) + "\n").encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, oldest first; a half-written last row is left out, a missing file has none."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
