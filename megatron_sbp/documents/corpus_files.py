"""The files of a corpus: what glob patterns match, and what is refused or passed over."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import is_utf8
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.documents.patterns import names_matching
from megatron_sbp.recipe import Documents

if TYPE_CHECKING:
    pass


SUFFIXES = (".jsonl", ".jsonl.gz", JSONL_ZST, ".parquet")


def corpus_files(
    documents: Documents, folder: Path, source: Path | str | None = None
) -> tuple[list[Path], list[PassedOver]]:
    """Files that `documents.inputs` matches, and matches that are not files.

    Args:
        documents: the patterns, and whether a match that is not a file is an error (`bad_documents`).
        folder: relative patterns start from it.
        source: where the patterns were read from, for messages.

    Raises:
        InputError: as `matching_files`.
    """
    found, passed_over = find_files(documents.inputs, folder, source, "documents.inputs")
    if documents.bad_documents == "fatal" or not found:
        _refuse(passed_over, "documents.inputs")
    return found, passed_over


def matching_files(patterns: list[str], folder: Path, source: Path | None = None, key: str | None = None) -> list[Path]:
    """Files that glob patterns match, each once, sorted by path.

    Args:
        patterns: relative to `folder`, or absolute; `**` means any depth.
        folder: relative patterns start from it.
        source: where the patterns were read from, for messages.
        key: the patterns' key in that file.

    Raises:
        InputError: a pattern matches no file, a file has an unknown suffix, something that matches is not a file (a
            link to nothing, a folder, a device), or a folder that `**` matches cannot be read.
    """
    found, passed_over = find_files(patterns, folder, source, key)
    _refuse(passed_over, key)
    return found


@dataclass(frozen=True)
class PassedOver:
    """A match of a pattern that is not a file."""

    path: Path
    reason: str


def find_files(
    patterns: list[str], folder: Path, source: Path | str | None, key: str | None
) -> tuple[list[Path], list[PassedOver]]:
    """Like `matching_files`, but returns matches that are not files instead of refusing them."""
    found: dict[Path, Path] = {}
    passed_over: dict[Path, str] = {}
    real = _WithoutLinks()
    for pattern in patterns:
        matches, seen = dict[Path, Path](), len(passed_over)
        for name in sorted(names_matching(pattern, folder, recursive=True)):
            place = os.path.join(folder, name)  # noqa: PTH118  of tens of thousands, pathlib takes most of the time
            if real.is_file(place):
                matches.setdefault(*real.places(place))
                continue
            path = Path(place)
            reason = _no_file(path)
            if reason is None:
                matches.setdefault(*real.places_of_link(path))
            elif not (path.is_dir() and pattern.endswith("**")):  # `**` also matches the folders along the way
                passed_over[path] = reason
        if not matches and len(passed_over) == seen:
            raise InputError(f"'{pattern}' matches no file (searched in {folder})", file=source, key=key)
        found = {**matches, **found}
    paths = sorted(found.values())
    for path in paths:
        if (unknown := _unknown_suffix(path)) is not None:
            raise InputError(unknown, file=path, key=key)
    return paths, [PassedOver(path, passed_over[path]) for path in sorted(passed_over)]


class _WithoutLinks:
    """Resolves paths. Each folder is resolved once for all its files: a corpus has tens of thousands, and every lookup
    would query all parent folders on a shared file system."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def is_file(self, place: str) -> bool:
        """Whether it is a regular file and not a link."""
        try:
            return stat.S_ISREG(os.lstat(place).st_mode)
        except OSError:
            return False

    def places(self, place: str) -> tuple[Path, Path]:
        """The same result as `places_of_link` for a file that is not a link: its resolved path, twice."""
        folder, name = os.path.split(place)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        found = Path(self._folders[folder], name)
        return found, found

    def places_of_link(self, path: Path) -> tuple[Path, Path]:
        """The target of a link, and the target under the link's name if only that has the suffix.

        The cache of the Hugging Face hub has `train.jsonl -> ../blobs/abc123`.
        """
        real = path.resolve()
        return real, real if real.name.endswith(SUFFIXES) else path.parent.resolve() / path.name


def file_problem(path: Path) -> str | None:
    """Why a match of `documents.inputs` is not a corpus file, judged by its kind and name."""
    return _no_file(path) or _unknown_suffix(path)


def _unknown_suffix(path: Path) -> str | None:
    if not is_utf8(path):
        return "has bytes in its path that are not UTF-8; rename it"
    return None if path.name.endswith(SUFFIXES) else f"is none of {', '.join(SUFFIXES)}"


def _no_file(path: Path) -> str | None:
    """Why an existing path is not a file; None for a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "has vanished"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if stat.S_ISREG(mode):
        return None
    return "is a folder" if stat.S_ISDIR(mode) else "is not a regular file"


def _refuse(passed_over: list[PassedOver], key: str | None) -> None:
    if passed_over:
        first = passed_over[0]
        more = f" ({len(passed_over)} matches like this)" if len(passed_over) > 1 else ""
        raise InputError(f"{first.reason}: no file with documents{more}", file=first.path, key=key)
