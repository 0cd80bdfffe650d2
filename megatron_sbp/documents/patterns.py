"""Expands the glob patterns of a corpus."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError

type _Folder = tuple[str, list[str]]
"""A folder and the names of its files."""


def names_matching(pattern: str, folder: Path, *, recursive: bool) -> list[str]:
    """Paths that a pattern of `documents.inputs` matches. An existing name is taken literally: it may contain `[1]`.

    Args:
        pattern: a name or glob pattern, relative to the folder or absolute.
        folder: that of the recipe.
        recursive: `**` matches zero or more folders, except hidden ones; at the end, all files in them. Links are
            followed, except into a folder that contains them: glob's own `**` follows cycles, with two of them
                without end, and skips unreadable folders.

    Raises:
        InputError: a folder that `**` matches cannot be read.
    """
    if os.path.lexists(folder / pattern):
        return [pattern]
    before, parts = [], pattern.split("/")
    while recursive and parts and parts[0] != "**":
        before.append(parts.pop(0))
    if not recursive or not parts:
        return glob.glob(pattern, root_dir=folder)  # noqa: PTH207  pathlib takes no absolute pattern
    after = "/".join(parts[1:])
    found: dict[str, None] = {}
    for start in _matches("/".join(before), folder) if before else [""]:
        for name, files in _folders(folder, start):
            inside = names_matching(after, folder / name, recursive=True) if after else files
            found |= dict.fromkeys(os.path.join(name, match) for match in inside)  # noqa: PTH118  names, as glob's
    return list(found)


def _matches(pattern: str, folder: Path) -> list[str]:
    """Folders that a pattern without `**` matches; that of an absolute `/**` is the root."""
    return [name for name in names_matching(pattern or "/", folder, recursive=False) if (folder / name).is_dir()]


def _folders(folder: Path, name: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[_Folder]:
    """A folder and all folders below it, except hidden ones and links to its ancestors."""
    path = folder / name
    try:
        status = path.stat()
        entries = sorted((entry.name, _is_folder(entry)) for entry in os.scandir(path))
    except OSError as error:
        raise InputError(f"the folder cannot be read ({error.strerror})", file=path) from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    shown = [entry for entry in entries if not entry[0].startswith(".")]
    yield name, [entry for entry, is_folder in shown if not is_folder]
    for entry, is_folder in shown:
        if is_folder:
            yield from _folders(folder, os.path.join(name, entry), above | {here})  # noqa: PTH118


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
