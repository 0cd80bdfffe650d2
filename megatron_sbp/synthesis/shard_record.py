"""Record of a finished shard, in a hidden file next to it until its stage is complete.

It records the generation speed, and marks the shard as finished for a restart after a kill, before any other record
does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.synthesis.tally import Tally, tally_of

RECORD_SUFFIX = ".written"


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard."""

    identity: str
    """Digest of everything that determines its texts."""
    sha256: str
    """Of its file."""
    tally: Tally


def record_of(output: Path) -> Path:
    """Path of a shard's record."""
    return output.with_name(f".{output.name}{RECORD_SUFFIX}")


def write_record(output: Path, identity: str, tally: Tally) -> None:
    """Writes the record of a finished shard."""
    told = {"identity": identity, "sha256": files.sha256(output), "tally": dataclasses.asdict(tally)}
    files.write_json(record_of(output), told)


def read_record(file: Path) -> ShardRecord | None:
    """Reads a record; None if it is missing or invalid."""
    try:
        value = files.read_json(file) if file.exists() else None
    except (InputError, OSError):
        return None
    if not isinstance(value, dict):
        return None
    tally, identity, digest = tally_of(value.get("tally")), value.get("identity"), value.get("sha256")
    if tally is None or not isinstance(identity, str) or not isinstance(digest, str):
        return None
    return ShardRecord(identity, digest, tally)


def is_written(output: Path, identity: str) -> bool:
    """Whether a shard exists, is complete, and has the texts determined by `identity`."""
    if not output.exists():
        return False
    record = read_record(record_of(output))
    return record is not None and record.identity == identity and record.sha256 == files.sha256(output)
