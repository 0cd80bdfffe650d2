"""Documents by their row over all shards of a split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from megatron_sbp.base import files


def read_rows(shards: Sequence[Path], rows: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Some documents, by row number; reads the shards up to the last of them."""
    wanted = set(rows)
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(_lines(shards)):
        if len(found) == len(wanted):
            break
        if number in wanted:
            found[number] = json.loads(line)
    return found


def _lines(shards: Sequence[Path]) -> Iterator[bytes]:
    for shard in shards:
        with files.open_lines(shard) as lines:
            yield from lines
