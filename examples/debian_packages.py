"""Reads Debian packages: what the examples share that take their text from one."""

from __future__ import annotations

import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import zstandard

from megatron_sbp.base.errors import InputError

_AR = b"!<arch>\n"
_AR_HEADER = 60
_BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError, OSError)


def control(package: Path) -> dict[str, str]:
    """What a .deb says of itself: `Package`, `Version`, and the other one-line fields of its control file.

    Args:
        package: The .deb file.

    Returns:
        The fields by name.

    Raises:
        InputError: it is no Debian package, or damaged.
        OSError: it cannot be read.
    """
    for path, data in _files(package, "control.tar"):
        if path == "control":
            lines = data.decode("utf-8", errors="replace").splitlines()
            pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith((" ", "\t")))
            fields = {name: value.strip() for name, value in pairs}
            if fields.get("Package") and fields.get("Version"):
                return fields
    raise InputError("has no control file with a package and a version", file=package)


def contents(package: Path) -> Iterator[tuple[str, bytes]]:
    """The regular files of a .deb in the order of its archive: path without a leading `/`, and bytes.

    Args:
        package: The .deb file.

    Yields:
        Path and bytes of every file; links are not followed.

    Raises:
        InputError: it is no Debian package, or damaged.
        OSError: it cannot be read.
    """
    return _files(package, "data.tar")


def _files(package: Path, archive_name: str) -> Iterator[tuple[str, bytes]]:
    """The regular files of the tar archive whose name starts with `archive_name`."""
    raw = _member(package, archive_name)
    try:
        if raw.startswith(zstandard.FRAME_HEADER):  # tarfile knows the other compressions
            decompression = zstandard.ZstdDecompressor().decompressobj()
            raw = decompression.decompress(raw)
            if not decompression.eof:
                raise EOFError("the compressed data ends too early")
        archive = tarfile.open(fileobj=io.BytesIO(raw))  # noqa: SIM115  the `with` is below
    except _BROKEN as error:
        raise InputError(f"is damaged: {archive_name} ({error})", file=package) from error
    with archive:
        while True:
            try:
                member = archive.next()
                if member is None:
                    return
                data = archive.extractfile(member).read() if member.isfile() else None  # type: ignore[union-attr]
            except _BROKEN as error:
                raise InputError(f"is damaged: {archive_name} ({error})", file=package) from error
            if data is not None:
                yield member.name.removeprefix("./").lstrip("/"), data


def _member(package: Path, start: str) -> bytes:
    """Bytes of the first member of the `ar` archive whose name starts with `start`."""
    raw = package.read_bytes()
    if not raw.startswith(_AR):
        raise InputError("is no Debian package", file=package)
    place = len(_AR)
    while place < len(raw):
        header = raw[place : place + _AR_HEADER]
        size = header[48:58].strip()
        if len(header) < _AR_HEADER or not header.endswith(b"`\n") or not size.isdigit():
            raise InputError(f"is damaged at byte {place:,}", file=package)
        place += _AR_HEADER + int(size)
        if place > len(raw):
            raise InputError(f"is cut off: {place:,} bytes are needed, {len(raw):,} are there", file=package)
        if header[:16].decode("ascii", errors="replace").startswith(start):
            return raw[place - int(size) : place]
        place += int(size) % 2
    raise InputError(f"has no {start}", file=package)
