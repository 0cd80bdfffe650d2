"""Progress of a shard of generations: counts stored beside its texts, so that the texts need not be read."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.synthesis.engine import Written

_BLOCK = 1 << 16
_FARTHEST = 1 << 24
"""Bytes searched for counts at the end of a file: a batch is a few megabytes at most."""


@dataclass(frozen=True)
class Tally:
    """The texts of one shard so far, and the time spent on them."""

    texts: int = 0
    fresh: int = 0
    """Texts of the process that wrote last."""
    seconds: float = 0.0
    """Total time spent by all processes."""
    begun: float = 0.0
    """Start time of the process that wrote last, in seconds since the epoch."""
    updated: float = 0.0
    """When it wrote last."""
    min_tokens: int = 0
    """Texts with fewer tokens count as short."""
    short: int = 0
    unfinished: int = 0
    """Unfinished texts that are not short."""

    def with_texts(self, texts: Iterable[Written], **changes: float) -> Tally:
        """The tally with further texts, by any process, and other changes."""
        count = short = unfinished = 0
        for text in texts:
            count += 1
            if len(text.tokens) < self.min_tokens:
                short += 1
            elif not text.finished:
                unfinished += 1
        more = {"texts": self.texts + count, "short": self.short + short, "unfinished": self.unfinished + unfinished}
        return dataclasses.replace(self, **more, **changes)  # type: ignore[arg-type]

    def as_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"


def tally_of(value: object) -> Tally | None:
    """Parses a tally from a JSON value; None if it is invalid."""
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        return None
    numbers = all(isinstance(number, (int, float)) and math.isfinite(number) for number in value.values())
    return Tally(**value) if numbers else None


def last_tally(file: Path) -> Tally | None:
    """The last tally in a file with lines of JSON; reads only its end. None if there is none, or no file."""
    try:
        with open(file, "rb") as stream:
            begin = stream.seek(0, 2)
            farthest, tail = max(0, begin - _FARTHEST), b""
            while begin > farthest:
                size = min(_BLOCK, begin - farthest)
                begin -= size
                stream.seek(begin)
                lines = (stream.read(size) + tail).split(b"\n")
                for line in reversed(lines[1:-1]):  # the last one is incomplete: being written, or truncated
                    found = _parsed(line)
                    if found is not None:
                        return found
                # The rest is at most one line that began earlier.
                tail = lines[0] + b"\n" if len(lines) > 1 else lines[0]
            return _parsed(tail.partition(b"\n")[0]) if b"\n" in tail else None
    except FileNotFoundError:
        return None


def _parsed(line: bytes) -> Tally | None:
    if not line.startswith(b'{"texts"'):  # batches are long
        return None
    try:
        return tally_of(json.loads(line))
    except ValueError:
        return None


_FIELDS = {field.name for field in dataclasses.fields(Tally)}
