"""The quality sheet's look-ups in D, part by part: each part gives a small file, and files are joined by adding.

A part is a run of consecutive shards of D or, where items of the evaluation are looked for, of synthetic text. A file
says which of the n-grams and shingles of the compared texts its part has, so its size follows from those texts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.documents.ids import count_documents
from megatron_sbp.evaluation.compared import LookedFor, QualityFiles, compared_texts
from megatron_sbp.evaluation.contamination import Contamination, ItemsIn
from megatron_sbp.evaluation.corpus_pass import CorpusPass
from megatron_sbp.evaluation.shard_reading import read_shards
from megatron_sbp.recipe import Recipe
from megatron_sbp.tokenization.tokenizer import load_tokenizer

REAL = "real"
"""Kind of the parts of D; the others are the groups of synthetic text, in which only items are looked for."""

KINDS = (REAL, "synthetic", "generations")
"""Kinds of parts, in the order in which they are joined."""


@dataclass(frozen=True)
class Part:
    """A part of the text that is read.

    Attributes:
        kind: one of `KINDS`.
        shards: its files, in order.
        before: the shards of the same kind that come before it.
    """

    kind: str
    shards: Sequence[Path]
    before: Sequence[Path] = ()


def write_wanted(found: QualityFiles, recipe: Recipe, output: Path) -> None:
    """Chooses the texts that are compared, and writes what is looked for of them: .jsonl.zst, read by `scan_part`."""
    texts = compared_texts(found, recipe, load_tokenizer(found.tokenizer))
    files.write_jsonl_zst(output, texts.wanted())


def scan_part(part: Part, found: QualityFiles, wanted: Path, shingle_tokens: int, output: Path) -> None:
    """Reads a part once, and writes what it has.

    Args:
        part: to read.
        found: the files; its tokens of D and its items are used.
        wanted: what `write_wanted` wrote.
        shingle_tokens: tokens in a shingle.
        output: .npz, written atomically; the same bytes whatever the number of processes that read.

    Raises:
        InputError: a shard has fewer documents than ids.
    """
    items = None if found.items is None else Contamination(found.items)
    label = f"scan-corpus: {part.kind} {part.shards[0].name.partition('.')[0]}"
    documents = sum(map(count_documents, part.shards))
    held: dict[str, np.ndarray] = {}
    if part.kind == REAL:
        looked = LookedFor.of(files.read_jsonl_zst(wanted), shingle_tokens)
        reading = CorpusPass(found.tokens["train"], looked.overlap, looked.novelty, items)
        first = sum(map(count_documents, part.before))
        read_shards(reading, part.shards, documents, label, first_row=first)
        shingles, ngrams = looked.overlap.found()
        places, rows, others = looked.novelty.found()
        narrow = np.uint32 if not len(places) or places[-1] < 1 << 32 else np.int64
        held = {
            "digest": np.frombuffer(bytes.fromhex(looked.digest), np.uint8),
            "shingles": np.packbits(shingles),
            "ngrams": np.packbits(ngrams),
            "places": places.astype(narrow),
            "rows": rows,
            "others": np.packbits(others),
        }
    else:
        assert items is not None, "synthetic text is read for items only"
        read_shards(ItemsIn(items, part.kind), part.shards, documents, label, rows=False)
    if items is not None:
        for group, occurring in items.found()[0].items():
            held["items"], held["texts"] = np.packbits(occurring), np.array(items.found()[1].get(group, 0))
    with files.atomic_path(output) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **held)  # type: ignore[arg-type]  # numpy's stub takes the names for its options


def join_findings(findings: Sequence[Path], reading: CorpusPass, digest: str) -> None:
    """Notes what all parts have, as if they had been read here.

    Args:
        findings: what `scan_part` wrote, of every part; a file's name begins with the kind of its part.
        reading: takes it; has read nothing.
        digest: of what is looked for in it, see `LookedFor`.

    Raises:
        InputError: a file is damaged, or is about other texts.
    """
    with Progress("quality: joining what was found in D", len(findings), "parts") as progress:
        for file in in_order(findings):
            try:
                with np.load(file) as held:
                    found = {name: held[name] for name in held.files}
            except (OSError, ValueError, EOFError, zlib.error, BadZipFile) as error:
                raise InputError(f"cannot be read ({error}); `sbp verify` shows what changed", file=file) from error
            if "digest" in found:
                if found["digest"].tobytes().hex() != digest:
                    raise InputError("says where other texts occur than those that are compared now", file=file)
                shingles, ngrams = reading.overlap.found()
                reading.overlap.absorb((_bools(found["shingles"], len(shingles)), _bools(found["ngrams"], len(ngrams))))
                places = found["places"]
                reading.novelty.absorb((places, found["rows"], _bools(found["others"], len(places))))
            if reading.items is not None and "items" in found:
                group = kind_of(file)
                occurring = _bools(found["items"], len(reading.items))
                reading.items.absorb(({group: occurring}, {group: int(found["texts"])}))
            progress.advance()


def in_order(findings: Iterable[Path]) -> list[Path]:
    """By kind, then by name."""
    return sorted(findings, key=lambda file: (KINDS.index(kind_of(file)), file.name))


def kind_of(file: Path) -> str:
    """Kind of the part that a file is about."""
    return file.name.partition("-")[0]


def _bools(packed: np.ndarray, count: int) -> np.ndarray:
    return np.unpackbits(packed, count=count).astype(np.bool_)
