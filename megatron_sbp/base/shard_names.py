"""Names of shards: a number, and the suffix of what they hold."""

from __future__ import annotations

from pathlib import Path

JSONL_ZST = ".jsonl.zst"
"""Suffix of documents and generations, as in 00003.jsonl.zst."""
NUMBERED = "[0-9]*"
"""Names of shards without their suffix, as a glob pattern: neither hidden files nor audits."""


def shard_file_name(number: int, suffix: str) -> str:
    """What the shard with this number is called: 3 and ".npy" give 00003.npy."""
    return f"{number:05d}{suffix}"


def numbered_shards(folder: Path, suffix: str) -> list[Path]:
    """The shards in a folder, in order; empty without the folder."""
    return sorted(folder.glob(NUMBERED + suffix))
