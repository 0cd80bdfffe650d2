"""From the files of a corpus to documents/: the two passes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.documents import SPLITS
from megatron_sbp.documents.reading import (
    BadDocument,
    Document,
    PassedOver,
    check_fields,
    corpus_files,
    fields_of,
    parse,
    raw_rows,
)
from megatron_sbp.documents.shards import ShardWriter
from megatron_sbp.documents.splitting import Chosen, Table, choose
from megatron_sbp.recipe import Documents

LISTED = 1000
"""Bad documents that audit.json lists; all are counted."""


class CorpusTooSmall(InputError):
    """Fewer usable documents than the splits need."""


@dataclass
class _Audit:
    passed_over: list[PassedOver]
    read: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    short: int = 0
    bad: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)

    def note_bad(self, file: str, line: int, reason: str) -> None:
        self.bad += 1
        if len(self.listed) < LISTED:
            self.listed.append({"file": file, "line": line, "reason": reason})


def split_corpus(
    documents: Documents,
    seed: int,
    output: Path,
    *,
    folder: Path,
    scratch: Path,
    rejection_audit: Path,
    source: Path | None = None,
) -> list[Path]:
    """Writes OUTPUT/SPLIT/NNNNN.jsonl.zst, OUTPUT/ids/SPLIT/NNNNN.parquet and OUTPUT/audit.json.

    Documents are ordered by a hash of (seed, id). The first `test` of them are the test split, followed by valid,
    train and oracle, so that a larger train or oracle split does not change the held-out documents.

    Args:
        documents: the corpus and its splits.
        seed: of the order.
        output: folder of the splits.
        folder: `documents.inputs` are relative to it.
        scratch: folder for temporary files; several processes may share it.
        rejection_audit: where the audit is written when the corpus is too small; `output` has finished splits only.
        source: file that the settings were read from, for messages.

    Returns:
        The files written.

    Raises:
        InputError: a bad document where `bad_documents` is fatal, or an unreadable file.
        CorpusTooSmall: fewer usable documents than the splits need.
    """
    check_fields(documents, source)
    inputs, passed_over = corpus_files(documents, folder, source)
    audit = _Audit(passed_over)
    table = _first_pass(documents, seed, inputs, audit)
    chosen = choose(table)
    _note_clashes(documents, inputs, table, chosen, audit)
    _say_dropped(chosen, audit)
    sizes = _sizes(documents, chosen, audit, rejection_audit)
    totals, written = _second_pass(documents, inputs, table, chosen, sizes, output, scratch)
    files.write_json(
        output / "audit.json",
        {
            **_described(chosen, audit),
            "unused": len(chosen.rows) - sum(sizes.values()),
            "splits": {split: {"documents": sizes[split], **totals[split]} for split in SPLITS},
            "bad_documents": audit.listed,
        },
    )
    say("documents: " + ", ".join(f"{sizes[split]:,} {split}" for split in SPLITS))
    return [*written, output / "audit.json"]


def _described(chosen: Chosen, audit: _Audit) -> dict[str, Any]:
    return {
        "inputs": audit.read,
        # Names only: where the corpus is must not change the bytes of the audit.
        "skipped_inputs": [{"file": found.path.name, "reason": found.reason} for found in audit.passed_over],
        "read": sum(audit.read.values()),
        "dropped": _dropped(chosen, audit),
    }


def _say_dropped(chosen: Chosen, audit: _Audit) -> None:
    """Prints how many documents were dropped and why, and the first bad one."""
    for found in audit.passed_over:
        say(f"documents: skipped {found.path}, which {found.reason}")
    dropped = {reason: count for reason, count in _dropped(chosen, audit).items() if count}
    if dropped:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        say(f"documents: dropped {counts} of {sum(audit.read.values()):,} that were read")
    if audit.bad:
        first = audit.listed[0]
        say(f"documents: the first bad one is {first['file']}:{first['line']}: {first['reason']}")


def _first_pass(documents: Documents, seed: int, inputs: list[Path], audit: _Audit) -> Table:
    table = Table(seed)
    with _progress("documents, first reading", inputs) as progress:
        for number, (path, name) in enumerate(zip(inputs, _names(inputs), strict=True)):
            audit.read[name] = 0
            for line, raw in raw_rows(path, fields_of(documents), progress.advance):
                audit.read[name] += 1
                try:
                    document = parse(raw, documents)
                except BadDocument as bad:
                    if documents.bad_documents == "fatal":
                        raise InputError(bad.reason, file=path, line=line, key=bad.key) from bad
                    audit.note_bad(name, line, f"'{bad.key}': {bad.reason}" if bad.key else bad.reason)
                    continue
                characters = len(document.text.strip())
                if characters == 0:
                    audit.empty += 1
                elif characters < documents.min_characters:
                    audit.short += 1
                else:
                    table.add(document, number, line)
    return table


def _note_clashes(documents: Documents, inputs: list[Path], table: Table, chosen: Chosen, audit: _Audit) -> None:
    """Documents that share their id with a different text are bad ones."""
    if not len(chosen.clashes):
        return
    _, numbers, lines = table.columns()
    names, key = _names(inputs), documents.id_field
    for goes, stays in chosen.clashes[np.argsort(chosen.clashes[:, 0])].tolist():
        other = f"{inputs[numbers[stays]]}:{lines[stays]}"
        if documents.bad_documents == "fatal":
            raise InputError(
                f"this id has another text at {other}", file=inputs[numbers[goes]], line=int(lines[goes]), key=key
            )
        reason = f"'{key}': this id has another text at {names[numbers[stays]]}:{lines[stays]}"
        audit.note_bad(names[numbers[goes]], int(lines[goes]), reason)


def _sizes(wanted: Documents, chosen: Chosen, audit: _Audit, rejection_audit: Path) -> dict[str, int]:
    """Documents of every split. If there are too few, an audit says why, and the error names the audit."""
    usable = len(chosen.rows)
    needed = {"train": wanted.train, "oracle": wanted.oracle or 0, "valid": wanted.valid, "test": wanted.test}
    if usable < sum(needed.values()):
        parts = ", ".join(f"{split} {count:,}" for split, count in needed.items())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in _dropped(chosen, audit).items())
        described = _described(chosen, audit)
        files.write_json(
            rejection_audit, {**described, "needed": needed, "usable": usable, "bad_documents": audit.listed}
        )
        raise CorpusTooSmall(
            f"the corpus is too small: {sum(needed.values()):,} documents are needed ({parts}), {usable:,} are usable "
            f"({sum(audit.read.values()):,} read; dropped: {reasons}); see {rejection_audit}",
            key="documents.train",
        )
    if wanted.oracle is None:
        needed["oracle"] = usable - sum(needed.values())
    return needed


def _second_pass(
    documents: Documents,
    inputs: list[Path],
    table: Table,
    chosen: Chosen,
    sizes: dict[str, int],
    output: Path,
    scratch: Path,
) -> tuple[dict[str, dict[str, int]], list[Path]]:
    """Writes the shards. Gives the characters and bytes of every split, and the files."""
    per_shard = documents.documents_per_shard
    starts: dict[str, int] = {}
    begin = 0
    for split in ("test", "valid", "train", "oracle"):
        starts[split] = begin
        begin += sizes[split]
    splits = list(starts)
    bounds = np.array([starts[split] + sizes[split] for split in splits])

    picked = chosen.rows[:begin]
    place_of = np.argsort(picked, kind="stable")  # in reading order: the places that the documents get
    totals = {split: {"characters": 0, "bytes": 0} for split in SPLITS}
    writer = ShardWriter(scratch)
    shards: set[tuple[str, int]] = set()
    written: list[Path] = []
    with _progress("documents, second reading", inputs) as progress:
        for row, document in _again(documents, inputs, table, picked[place_of], progress):
            place = int(place_of[row])
            split = splits[int(np.searchsorted(bounds, place, side="right"))]
            shard = (split, (place - starts[split]) // per_shard)
            writer.add(shard, place, document.row())
            shards.add(shard)
            totals[split]["characters"] += len(document.text)
            totals[split]["bytes"] += len(document.text.encode())
    with Progress("documents, writing", len(shards), "shards") as progress:
        for shard in sorted(shards):
            split, number = shard
            written += writer.finish(shard, output / split / f"{number:05d}.jsonl.zst")
            progress.advance()
    writer.close()
    return totals, written


def _again(
    documents: Documents, inputs: list[Path], table: Table, rows: np.ndarray, progress: Progress
) -> Iterator[tuple[int, Document]]:
    """Reads the documents of some rows (ascending) once more: (number in `rows`, document)."""
    hashes, numbers, lines = table.columns()
    next_one = 0
    for number, path in enumerate(inputs):
        for line, raw in raw_rows(path, fields_of(documents), progress.advance):
            if next_one == len(rows):
                break
            row = rows[next_one]
            if numbers[row] != number or lines[row] != line:
                continue
            try:
                document = parse(raw, documents)
            except BadDocument:
                document = None
            if document is None or table.hashes(document) != tuple(hashes[row].tolist()):
                raise InputError("the file changed while it was being read", file=path, line=line)
            yield next_one, document
            next_one += 1
    if next_one < len(rows):
        raise InputError("the file changed while it was being read", file=inputs[numbers[rows[next_one]]])


def _dropped(chosen: Chosen, audit: _Audit) -> dict[str, int]:
    return {"empty": audit.empty, "short": audit.short, "duplicate": chosen.duplicates, "bad": audit.bad}


def _names(inputs: list[Path]) -> list[str]:
    """How audit.json names the files: relative to the folder that they share, so that a corpus may move."""
    shared = os.path.commonpath([path.parent for path in inputs])
    return [path.relative_to(shared).as_posix() for path in inputs]


def _progress(label: str, inputs: list[Path]) -> Progress:
    return Progress(label, sum(path.stat().st_size for path in inputs), "bytes")
