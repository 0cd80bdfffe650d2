"""Identifies the documents of an embedding file's rows: FILE.npy.json next to it, checked when pairs are mined.

Keys, each optional: `model`; `documents`, their number; `ids_sha256`, of their ids in order, each as UTF-8 and followed
by a line feed; `texts_sha256`, the same for documents without ids, with a digest of the text instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.reading import Document, id_of
from megatron_sbp.pairing.neighbors.vectors import Vectors

_KINDS: dict[str, type] = {"model": str, "documents": int, "ids_sha256": str, "texts_sha256": str}


class OrderDigest:
    """Digests of documents in order.

    Attributes:
        documents: number of documents added.
    """

    def __init__(self) -> None:
        self.documents = 0
        self._ids, self._texts = hashlib.sha256(), hashlib.sha256()

    def add(self, document: Document) -> None:
        """The next document."""
        self.documents += 1
        self._ids.update(f"{document.id}\n".encode())
        self._texts.update(f"{id_of({}, None, document.text)}\n".encode())

    def as_dict(self, with_ids: bool) -> JsonObject:
        """Contents of the file next to the embeddings.

        Args:
            with_ids: whether the documents have ids that are not digests of their texts.
        """
        ids = {"ids_sha256": self._ids.hexdigest()} if with_ids else {}
        return {"documents": self.documents, **ids, "texts_sha256": self._texts.hexdigest()}


class DocumentOrder:
    """Checks whether the rows of several embedding files belong to the given documents.

    Args:
        given: files of embeddings, in order.
        model: according to the user; None if not given.

    Raises:
        InputError: a file next to the embeddings is damaged; the embeddings are of another model, or of several models.
    """

    def __init__(self, given: Sequence[Path], model: str | None = None):
        self._files = list(given)
        self._known = [_read(file) for file in self._files]
        said: tuple[str, str] | None = None if model is None else (model, "--model says")
        for file, known in zip(self._files, self._known, strict=True):
            if "model" not in known:
                continue
            if said is not None and known["model"] != said[0]:
                raise InputError(f"is '{known['model']}', and {said[1]} '{said[0]}'", file=beside(file), key="model")
            said = said or (known["model"], f"{beside(file)} says")
        self._digests = [OrderDigest() for _ in self._files]
        self._ends: list[int] = []
        self._place = self._count = 0

    def check_lengths(self, vectors: Vectors) -> None:
        """Rejects files with a different number of rows than recorded documents; reports what cannot be checked."""
        self._ends = vectors.starts[1:].tolist()
        for file, part, known in zip(self._files, vectors.parts, self._known, strict=True):
            noted = known.get("documents", len(part))
            if noted != len(part):
                message = f"has {len(part):,} rows, and {beside(file).name} was written for {noted:,}"
                raise InputError(message, file=file)
        unknown = [file for file, known in zip(self._files, self._known, strict=True) if not _order_of(known)]
        if unknown:
            of = "" if len(self._files) == 1 else f" (the first of {len(unknown)} such files)"
            say(
                f"pairs: {unknown[0]}{of} has no {beside(unknown[0]).name} with a digest of the documents: their order "
                "is taken on trust, row i as document i"
            )

    def add(self, document: Document) -> None:
        """The next document."""
        while self._place < len(self._ends) and self._count == self._ends[self._place]:
            self._place += 1
        if self._place < len(self._ends):
            self._digests[self._place].add(document)
        self._count += 1

    def check(self, with_ids: bool) -> None:
        """Compares the added documents with those of the embeddings.

        Args:
            with_ids: see `OrderDigest.as_dict`.

        Raises:
            InputError: other documents, or another order; names both digests.
        """
        for file, known, digest in zip(self._files, self._known, self._digests, strict=True):
            found = digest.as_dict(with_ids)
            key = next((key for key in _order_of(known) if key in found), None)
            if key is not None and known[key] != found[key]:
                raise InputError(
                    f"is {known[key]}, and the documents given by --inputs have {found[key]}: the rows of {file.name} "
                    "are of other documents, or in another order",
                    file=beside(file),
                    key=key,
                )


def beside(embeddings: Path) -> Path:
    """File that identifies the documents of the embeddings."""
    return embeddings.with_name(f"{embeddings.name}.json")


def _order_of(known: JsonObject) -> list[str]:
    return [key for key in ("ids_sha256", "texts_sha256") if key in known]


def _read(embeddings: Path) -> JsonObject:
    file = beside(embeddings)
    if not file.exists():
        return {}
    try:
        known = files.read_json(file)
    except ValueError as error:
        raise InputError(f"not JSON, or damaged ({error})", file=file) from error
    if not isinstance(known, dict):
        raise InputError(f"must hold an object, not {type(known).__name__}", file=file)
    for key, kind in _KINDS.items():
        if key in known and (not isinstance(known[key], kind) or isinstance(known[key], bool)):
            raise InputError(
                f"must be {'a number' if kind is int else 'a string'}, not {known[key]!r}", file=file, key=key
            )
    return known
