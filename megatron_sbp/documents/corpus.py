"""Turns a corpus into documents/: each file is read once, by one of many tasks; then shards are written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.shard_names import JSONL_ZST, shard_file_name
from megatron_sbp.documents import SPLITS
from megatron_sbp.documents.corpus_audit import (
    Audit,
    Counts,
    counts_of,
    described,
    dropped_of,
    file_names,
    note_clashes,
    say_dropped,
)
from megatron_sbp.documents.corpus_files import corpus_files
from megatron_sbp.documents.ids import ids_file
from megatron_sbp.documents.input_groups import input_groups
from megatron_sbp.documents.one_file import is_usable, rows_of_file
from megatron_sbp.documents.parts import Part, PartWriter, part_files
from megatron_sbp.documents.reading import BadDocument, check_fields
from megatron_sbp.documents.shard_writing import cut_shards
from megatron_sbp.documents.splitting import Chosen, choose, keys_at
from megatron_sbp.documents.written_shards import NAME, WrittenShards
from megatron_sbp.recipe import Documents
from megatron_sbp.recipe.checks import too_many_shards

SPLITS_AS_CUT = ("test", "valid", "train", "oracle")
"""Held-out splits come first, so that a larger train or oracle split does not change them."""

_HELD_OF_ONE, _HELD_OF_SEVERAL = 256 << 20, 1 << 30
"""Bytes of documents held while reading a file or several files. Shards are cut from pieces of this size, so a corpus
of very many files should have few of them."""


class CorpusTooSmall(InputError):
    """Fewer usable documents than the splits need."""


def split_corpus(
    documents: Documents, seed: int, output: Path, *, folder: Path, rejection_audit: Path, source: Path | None = None
) -> list[Path]:
    """Reads all files of a corpus and writes the shards: `read_part` and `join_parts` in one process.

    Args and Raises: of these two.

    Returns:
        The files written.
    """
    inputs, _ = corpus_files(documents, folder, source)
    groups = input_groups(inputs)
    parts = [output / "parts" / f"{number:05d}" for number in range(len(groups))]
    for group, part in zip(groups, parts, strict=True):
        read_part(documents, seed, [inputs[place] for place in group], part, source=source)
    written = join_parts(documents, seed, parts, output, folder=folder, rejection_audit=rejection_audit, source=source)
    shutil.rmtree(output / "parts")
    return written


def read_part(
    documents: Documents, seed: int, paths: Sequence[Path], part: Path, *, source: Path | None = None
) -> list[Path]:
    """Reads some files of a corpus: writes their usable documents in the keyed order, and counts of dropped ones.

    Args:
        documents: the corpus.
        seed: of the order.
        paths: consecutive files of `corpus_files`.
        part: FOLDER/NAME of the output, see `parts`.
        source: file that the settings were read from, for messages.

    Returns:
        The files written.

    Raises:
        InputError: a bad document if `bad_documents` is fatal, or an unreadable file.
    """
    check_fields(documents, source)
    several = len(paths) > 1
    label = f"documents: {paths[0].name}" + (f" and {len(paths) - 1:,} more files" if several else "")
    before, found = 0, []
    with (
        PartWriter(part, seed, _HELD_OF_SEVERAL if several else _HELD_OF_ONE) as writer,
        Progress(label, sum(map(_size, paths)), "bytes") as progress,
    ):
        for path in paths:
            counts, line = Counts(lines_before=before), 0
            for line, document in rows_of_file(path, documents, progress.advance):
                counts.read += 1
                if isinstance(document, BadDocument):
                    counts.note_bad(line, f"'{document.key}': {document.reason}" if document.key else document.reason)
                elif is_usable(document, documents):
                    writer.add(document, before + line)
                elif document.text.strip():
                    counts.short += 1
                else:
                    counts.empty += 1
            found.append(asdict(counts))
            before += line
        writer.notes["counts"] = found
    return part_files(part)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError as error:  # removed since the corpus was listed
        raise InputError("no such file", file=path) from error


def join_parts(
    documents: Documents,
    seed: int,
    parts: Sequence[Path],
    output: Path,
    *,
    folder: Path,
    rejection_audit: Path,
    source: Path | None = None,
) -> list[Path]:
    """Writes OUTPUT/SPLIT/NNNNN.jsonl.zst, OUTPUT/ids/SPLIT/NNNNN.parquet and OUTPUT/audit.json. Shards that an
    interrupted call wrote from the same parts are kept; written.jsonl beside the parts names them.

    Documents are ordered by a hash of (seed, id). The first `test` of them are the test split, followed by valid,
    train and oracle, so that a larger train or oracle split does not change the held-out documents.

    Args:
        documents: the corpus and its splits.
        seed: of the order.
        parts: output of `read_part` for all files, in order.
        output: folder of the splits.
        folder: `documents.inputs` are relative to it.
        rejection_audit: path of the audit if the corpus is too small; `output` only has finished splits.
        source: file that the settings were read from, for messages.

    Returns:
        The files written.

    Raises:
        InputError: two documents with the same id if `bad_documents` is fatal.
        CorpusTooSmall: fewer usable documents than the splits need.
    """
    inputs, passed_over = corpus_files(documents, folder, source)
    found = [Part(part) for part in parts]
    audit = Audit(passed_over)
    for name, counts in zip(file_names(inputs), (counts for part in found for counts in counts_of(part)), strict=True):
        audit.add(name, counts)
    chosen = choose([part.rows for part in found])
    note_clashes(documents, inputs, found, chosen, audit)
    say_dropped(chosen, audit)
    sizes = _sizes(documents, chosen, audit, rejection_audit)
    totals, written = _write_shards(documents, found, chosen, sizes, output)
    files.write_json(
        output / "audit.json",
        {
            **described(chosen, audit),
            "unused": chosen.usable - sum(sizes.values()),
            "splits": {split: {"documents": sizes[split], **totals[split]} for split in SPLITS},
            "bad_documents": audit.listed,
        },
    )
    say("documents: " + ", ".join(f"{sizes[split]:,} {split}" for split in SPLITS))
    return [*written, output / "audit.json"]


def _sizes(wanted: Documents, chosen: Chosen, audit: Audit, rejection_audit: Path) -> dict[str, int]:
    """Documents of every split. If there are too few, writes an audit of the reasons and names it in the error."""
    usable = chosen.usable
    needed = {"train": wanted.train, "oracle": wanted.oracle or 0, "valid": wanted.valid, "test": wanted.test}
    if usable < sum(needed.values()):
        parts = ", ".join(f"{split} {count:,}" for split, count in needed.items())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped_of(chosen, audit).items())
        counted = described(chosen, audit)
        files.write_json(
            rejection_audit, {**counted, "needed": needed, "usable": usable, "bad_documents": audit.listed}
        )
        raise CorpusTooSmall(
            f"the corpus is too small: {sum(needed.values()):,} documents are needed ({parts}), {usable:,} are usable "
            f"({sum(audit.read.values()):,} read; dropped: {reasons}); see {rejection_audit}",
            key=f"documents.{_too_many(needed, usable)}",
        )
    if wanted.oracle is None:
        needed["oracle"] = usable - sum(needed.values())
    for split, size in needed.items():  # the size of the oracle split depends on the corpus
        wrong = too_many_shards(wanted, split, size)
        if wrong is not None:
            raise InputError(wrong, key="documents.documents_per_shard")
    return needed


def _too_many(needed: dict[str, int], usable: int) -> str:
    """The first split, in cutting order, that needs more documents than are left."""
    for split in SPLITS_AS_CUT:
        usable -= needed[split]
        if usable < 0:
            return split
    raise AssertionError("there are enough documents")


def _write_shards(
    documents: Documents, parts: list[Part], chosen: Chosen, sizes: dict[str, int], output: Path
) -> tuple[dict[str, dict[str, int]], list[Path]]:
    """Writes the shards. Returns the characters and bytes of every split, and the files."""
    begin, shards, places = 0, [], []
    for split in SPLITS_AS_CUT:
        for number, place in enumerate(range(begin, begin + sizes[split], documents.documents_per_shard)):
            shards.append((split, output / split / shard_file_name(number, JSONL_ZST)))
            places += [place, min(place + documents.documents_per_shard, begin + sizes[split]) - 1]
        begin += sizes[split]
    keys = keys_at([part.rows for part in parts], chosen.keep, places)
    fields = sorted({*documents.keep_fields} - {"id", "text"})
    written = WrittenShards(parts[0].path.with_name(NAME), parts, chosen.keep, fields)
    totals = {split: {"characters": 0, "bytes": 0} for split in SPLITS}
    left: list[tuple[str, tuple[Path, np.void, np.void]]] = []
    with Progress("documents: writing", len(shards), "shards") as progress:

        def count(split: str, figures: dict[str, int]) -> None:
            for name in totals[split]:
                totals[split][name] += figures[name]
            progress.advance()

        for (split, path), first, last in zip(shards, keys[::2], keys[1::2], strict=True):
            figures = written.figures(path, first, last)
            if figures is None:
                left.append((split, (path, first, last)))
            else:
                count(split, figures)
        if len(left) < len(shards):
            say(f"documents: {len(shards) - len(left):,} of {len(shards):,} shards are already written")
        most = documents.documents_per_shard
        with closing(cut_shards([shard for _, shard in left], parts, chosen.keep, most=most, fields=fields)) as cut:
            for (split, shard), figures in zip(left, cut, strict=True):
                written.add(*shard, figures)
                count(split, figures)
    return totals, [file for _, path in shards for file in (path, ids_file(path))]
