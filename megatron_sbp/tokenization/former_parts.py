"""Reuses tokenized parts: extracts the tokens of a shard from the joined dataset.

The parts of single shards are deleted once they are joined, since they would double the disk space. PARTS.json next to
the dataset records which shard each range of documents comes from, so only the new shards of a growing dataset need
tokenizing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.encoding import TextCounts
from megatron_sbp.tokenization.indexed import counts_file, data_file, index_file, open_indexed, write_indexed


def source_file(prefix: Path) -> Path:
    """PREFIX.source.json: the source of a part and the digest of its tokens."""
    return prefix.with_name(f"{prefix.name}.source.json")


def source_of(shard: Path, tokenizer: Path) -> str:
    """Digest of a shard's bytes and of the tokenizer's, hexadecimal SHA-256."""
    inputs = [shard, *sorted(path for path in tokenizer.iterdir() if path.is_file())]
    return files.digest([files.sha256(path) for path in inputs])


def note_source(prefix: Path, source: str) -> Path:
    """Writes PREFIX.source.json for a new part.

    Args:
        prefix: of the part.
        source: `source_of` its shard.

    Returns:
        The file.
    """
    counts = files.read_json(counts_file(prefix))
    files.write_json(source_file(prefix), {"source": source, **counts, "sha256": files.sha256(data_file(prefix))})
    return source_file(prefix)


def join_sources(file: Path, parts: Sequence[Path]) -> Path:
    """Writes PARTS.json: the records of all parts of a dataset, in order."""
    files.write_json(file, [{"part": prefix.name, **files.read_json(source_file(prefix))} for prefix in parts])
    return file


def cut_part(dataset: Path, parts: Path, prefix: Path, source: str) -> list[Path]:
    """Recreates a part from the joined dataset.

    Args:
        dataset: prefix of the dataset.
        parts: its PARTS.json.
        prefix: of the part; its last component names it in PARTS.json.
        source: digest of the part's current source.

    Returns:
        The three files of a part, see `tokenize_shard`; empty if the dataset does not contain exactly these tokens.
    """
    try:
        notes = files.read_json(parts) if parts.exists() else []
        place = [note["part"] for note in notes].index(prefix.name)
        first, note = sum(before["documents"] for before in notes[:place]), notes[place]
        if note["source"] != source:
            return []
        digest, counts = note["sha256"], {name: note[name] for name in TextCounts().__dict__}
        joint = open_indexed(dataset)
        lengths = joint.lengths[first : first + note["documents"]]
        begin = int(joint.offsets[first]) // joint.tokens.itemsize if len(lengths) else 0
        tokens = joint.tokens[begin : begin + int(lengths.sum())]
    except (InputError, OSError, KeyError, TypeError, IndexError, ValueError):
        return []  # missing or damaged part: tokenize the text instead
    if hashlib.sha256(tokens.tobytes()).hexdigest() != digest:
        return []
    with write_indexed(prefix, joint.tokens.dtype.type) as writer:
        writer.add(tokens, lengths)
    files.write_json(counts_file(prefix), counts)
    return [data_file(prefix), index_file(prefix), counts_file(prefix)]
