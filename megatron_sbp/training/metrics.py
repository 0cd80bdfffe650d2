"""metrics.jsonl: losses and rates of a training run, one row per log interval and per evaluation."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject


class Metrics:
    """Appends rows to models/NAME/metrics.jsonl; each row is one write, so a kill truncates at most the last one.

    Rows: {"kind": "train" | "valid", "iteration", "samples", "tokens", "loss", ...}.
    """

    def __init__(self, path: Path):
        self.path = path

    def rewind(self, iteration: int) -> None:
        """Drops the rows after `iteration`, which a resumed training run writes again."""
        kept = [row for row in read_metrics(self.path) if row["iteration"] <= iteration]
        files.write_text(self.path, "".join(map(_line, kept)))

    def append(self, row: JsonObject) -> None:
        """Writes one row, completely or not at all.

        Raises:
            OSError: the disk is full.
        """
        line = _line(row).encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        before = os.fstat(descriptor).st_size
        try:
            files.write_whole(descriptor, line)
        except OSError:
            os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Flushes the rows to disk: a machine crash must not lose rows that belong to an existing checkpoint."""
        if self.path.exists():
            descriptor = os.open(self.path, os.O_WRONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def read_metrics(path: Path, kind: str | None = None) -> list[JsonObject]:
    """The rows of a metrics file, oldest first; a half-written last row is ignored, and a missing file has no rows.

    Args:
        path: the file.
        kind: kind of rows to read; parsing a million others would take 40 s. None for all.

    Raises:
        InputError: a row was modified; names the line.
    """
    if not path.exists():
        return []
    rows, data, beginning = [], path.read_bytes(), b"" if kind is None else f'{{"kind": "{kind}"'.encode()
    lines, summed = data.splitlines(keepends=True), b'"crc32"' in data  # there were none before 0.2
    for number, line in enumerate(lines, start=1):
        if not line.startswith(beginning):
            continue
        try:
            row = json.loads(line)
            check = row.pop("crc32", None)
            if check != _crc32(row) and (check is not None or summed):
                raise ValueError("another check sum")
        except (ValueError, AttributeError) as error:  # ValueError: invalid JSON or UTF-8
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise InputError(
                f"this row was changed since it was written; move {path.parent} away to train again",
                file=path,
                line=number,
            ) from error
        rows.append(row)
    return rows


def last_train_row(path: Path) -> JsonObject | None:
    """The last row of training losses, read from the end of the file; None if there is none yet.

    For watching a training run in progress: rows are not checked.
    """
    if not path.exists():
        return None
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        lines = file.read().splitlines(keepends=True)
    for line in reversed(lines):
        if line.startswith(b'{"kind": "train"') and line.endswith(b"}\n"):
            return json.loads(line)
    return None


_TAIL = 1 << 16


def _line(row: JsonObject) -> str:
    return json.dumps({**row, "crc32": _crc32(row)}) + "\n"


def _crc32(row: JsonObject) -> int:
    return zlib.crc32(json.dumps(row).encode())
