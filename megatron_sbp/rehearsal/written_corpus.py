"""Writes the documents of a rehearsal: beginnings of files, or made-up documents."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.raw_rows import raw_rows
from megatron_sbp.documents.reading import BadDocument, fields_of, parse
from megatron_sbp.recipe import Documents
from megatron_sbp.rehearsal.corpus import Corpus
from megatron_sbp.rehearsal.made_up_documents import MadeUp, made_up_documents

if TYPE_CHECKING:
    import pyarrow


_SPARE = 12
"""Documents beyond those of the splits: some are dropped as duplicates."""


@dataclass
class Texts:
    """What other materials need to know about the written documents.

    Attributes:
        texts: of all documents, in their order.
        groups: values of the field of each document that questions are asked about.
    """

    texts: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def write_corpus(
    corpus: Corpus,
    folder: Path,
    documents: Documents,
    *,
    count: int,
    seed: int,
    group_field: str | None,
    distinct_fields: Sequence[str] = (),
) -> Texts:
    """Writes the files of a corpus.

    Args:
        corpus: what to write.
        folder: where.
        documents: names of the fields; what to do with bad documents; `min_characters` of the rehearsal.
        count: documents that the splits need; some more are written.
        seed: of made-up documents.
        group_field: field that questions are asked about.
        distinct_fields: kept fields in which no two made-up documents have the same value; in others related ones do.

    Raises:
        InputError: the corpus has too few documents.
    """
    texts, wanted = Texts(), count + _SPARE
    if corpus.made_up:
        made = made_up_documents(wanted, seed)
        _write_made_up(
            corpus, folder, documents, made=made, texts=texts, group_field=group_field, distinct_fields=distinct_fields
        )
        return texts
    # Small files first: the others make up for what they do not have.
    files = sorted(corpus.files, key=lambda file: file.source.stat().st_size if file.source else 0)
    for place, file in enumerate(files):
        assert file.source is not None
        share = -(-(wanted - len(texts.texts)) // (len(files) - place))
        _copy_beginning(file.source, folder / file.name, documents, count=share, texts=texts, group_field=group_field)
    # Without a single usable document, the cause is another.
    for file in corpus.further if 0 < len(texts.texts) < count else ():
        if len(texts.texts) >= wanted:
            break
        assert file.source is not None
        _copy_beginning(
            file.source,
            folder / file.name,
            documents,
            count=wanted - len(texts.texts),
            texts=texts,
            group_field=group_field,
        )
    if len(texts.texts) < count:
        raise InputError(
            f"has {len(texts.texts):,} usable documents, but the rehearsal needs {count:,}", key="documents.inputs"
        )
    return texts


def _write_made_up(
    corpus: Corpus,
    folder: Path,
    settings: Documents,
    *,
    made: list[MadeUp],
    texts: Texts,
    group_field: str | None,
    distinct_fields: Sequence[str],
) -> None:
    # The last one is there twice: an exact duplicate, which the stage `documents` drops.
    rows = [_row(settings, document, distinct_fields) for document in [*made, made[-1]]]
    texts.texts += [document.text for document in made]
    texts.groups += [document.topic for document in made] if group_field else []
    for place, file in enumerate(corpus.files):
        mine = rows[place :: len(corpus.files)]
        path = folder / file.name
        if path.name.endswith(".parquet"):
            _write_parquet(path, mine)
            continue
        lines = [json.dumps(row, ensure_ascii=False).encode() for row in mine]
        if settings.bad_documents == "skip" and place == 0:
            lines.insert(1, lines[0][:-5])  # a truncated line
        _write_lines(path, lines)


def _row(settings: Documents, document: MadeUp, distinct_fields: Sequence[str]) -> dict[str, str]:
    kept = dict.fromkeys(settings.keep_fields, document.topic)
    kept |= dict.fromkeys(distinct_fields, f"{document.number}")
    own = {settings.id_field: f"made-up-{document.number}"} if settings.id_field else {}
    return {**kept, **own, settings.text_field: document.text}


def _copy_beginning(
    source: Path, target: Path, settings: Documents, *, count: int, texts: Texts, group_field: str | None
) -> None:
    """Copies a file up to its `count`-th usable document, as it is: including bad ones in between."""
    seen, rows, found = set(texts.texts), 0, 0
    copied: list[bytes] = []
    for _, raw in raw_rows(source, fields_of(settings), lambda size: None):
        if found >= count:
            break
        rows += 1
        if isinstance(raw, bytes):
            copied.append(raw.rstrip(b"\r\n"))
        try:
            document = parse(raw, settings)
        except BadDocument:
            continue
        if len(document.text.strip()) < settings.min_characters or document.text in seen:
            continue
        found += 1
        seen.add(document.text)
        texts.texts.append(document.text)
        if group_field:
            texts.groups.append(str(document.as_dict().get(group_field)))
    if source.name.endswith(".parquet"):
        _copy_parquet(source, target, rows)
    else:
        _write_lines(target, copied)


def _write_lines(path: Path, lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".zst"):
        data = zstandard.ZstdCompressor(level=3).compress(data)
    elif path.name.endswith(".gz"):
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
            file.write(data)
        data = buffer.getvalue()
    path.write_bytes(data)


def _write_parquet(path: Path, rows: list[JsonObject]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _copy_parquet(source: Path, target: Path, rows: int) -> None:
    import pyarrow
    import pyarrow.parquet

    target.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.parquet.ParquetFile(source) as file:
        batches = list(_first(file.iter_batches(batch_size=1024), rows))
        table = pyarrow.Table.from_batches(batches, schema=file.schema_arrow)
    pyarrow.parquet.write_table(table, target)


def _first(batches: Iterator[pyarrow.RecordBatch], rows: int) -> Iterator[pyarrow.RecordBatch]:
    for batch in batches:
        if rows <= 0:
            return
        yield batch.slice(0, rows)
        rows -= batch.num_rows
