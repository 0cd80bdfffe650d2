"""The audit of documents/: what was read, and what was dropped and why."""

from __future__ import annotations

import bisect
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.corpus_files import PassedOver
from megatron_sbp.documents.parts import Part
from megatron_sbp.documents.splitting import Chosen
from megatron_sbp.recipe import Documents

LISTED = 1000
"""Bad documents that audit.json lists; all are counted."""


@dataclass
class Counts:
    """Counts of dropped documents of a file."""

    lines_before: int = 0
    """Lines in the part's files before this one."""
    read: int = 0
    empty: int = 0
    short: int = 0
    bad: int = 0
    listed: list[tuple[int, str]] = field(default_factory=list)
    """Line and reason of the first bad documents."""

    def note_bad(self, line: int, reason: str) -> None:
        self.bad += 1
        if len(self.listed) < LISTED:
            self.listed.append((line, reason))


def counts_of(part: Part) -> list[JsonObject]:
    """`Counts` of a part's files."""
    counts = part.notes["counts"]
    return counts if isinstance(counts, list) else [counts]  # an earlier version read one file per part


@dataclass
class Audit:
    """Counts of dropped documents of all files."""

    passed_over: list[PassedOver]
    read: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    short: int = 0
    bad: int = 0
    listed: list[JsonObject] = field(default_factory=list)

    def add(self, file: str, counts: JsonObject) -> None:
        self.read[file] = counts["read"]
        self.empty += counts["empty"]
        self.short += counts["short"]
        for line, reason in counts["listed"]:
            self.list_bad(file, line, reason)
        self.bad += counts["bad"]

    def list_bad(self, file: str, line: int, reason: str) -> None:
        if len(self.listed) < LISTED:
            self.listed.append({"file": file, "line": line, "reason": reason})


def described(chosen: Chosen, audit: Audit) -> JsonObject:
    """What was read and what was dropped, for audit.json."""
    return {
        "inputs": audit.read,
        # Names only: the corpus's location must not change the bytes of the audit.
        "skipped_inputs": [{"file": found.path.name, "reason": found.reason} for found in audit.passed_over],
        "read": sum(audit.read.values()),
        "dropped": dropped_of(chosen, audit),
    }


def say_dropped(chosen: Chosen, audit: Audit) -> None:
    """Prints how many documents were dropped and why, and the first bad one."""
    for found in audit.passed_over:
        say(f"documents: skipped {found.path}, which {found.reason}")
    dropped = {reason: count for reason, count in dropped_of(chosen, audit).items() if count}
    if dropped:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        say(f"documents: dropped {counts} of {sum(audit.read.values()):,} that were read")
    if audit.bad:
        first = audit.listed[0]
        say(f"documents: the first bad one is {first['file']}:{first['line']}: {first['reason']}")


def note_clashes(documents: Documents, inputs: list[Path], parts: list[Part], chosen: Chosen, audit: Audit) -> None:
    """Documents whose id also belongs to a different text count as bad."""
    names, key = file_names(inputs), documents.id_field
    audit.bad += chosen.clashes
    first_files = np.cumsum([0, *(len(counts_of(part)) for part in parts)])

    def place(part: int, row: int) -> tuple[int, int]:
        """A document's file and line."""
        line = int(parts[part].rows["line"][row])
        before = [counts.get("lines_before", 0) for counts in counts_of(parts[part])]
        file = bisect.bisect_left(before, line) - 1
        return int(first_files[part]) + file, line - before[file]

    for goes, stays in chosen.first_clashes:
        (file, line), (other, other_line) = place(*goes), place(*stays)
        if documents.bad_documents == "fatal":
            raise InputError(
                f"this id has a different text at {inputs[other]}:{other_line}", file=inputs[file], line=line, key=key
            )
        audit.list_bad(names[file], line, f"'{key}': this id has a different text at {names[other]}:{other_line}")


def dropped_of(chosen: Chosen, audit: Audit) -> dict[str, int]:
    """Dropped documents by reason."""
    return {"empty": audit.empty, "short": audit.short, "duplicate": chosen.duplicates, "bad": audit.bad}


def file_names(inputs: list[Path]) -> list[str]:
    """File names for audit.json: relative to their common folder, so that a corpus can move."""
    shared = os.path.commonpath([path.parent for path in inputs])
    return [path.relative_to(shared).as_posix() for path in inputs]
