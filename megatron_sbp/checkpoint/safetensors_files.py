"""Hugging Face's safetensors folders, read and written tensor by tensor.

The safetensors library maps files into memory and needs all tensors of a file to save it; here neither a file nor a
mapping of it is ever in memory. A file is: length of the header (8 bytes), header (JSON: type, shape and place of
every tensor), values.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.hugging_face_folder import INDEX, ONE_FILE, weight_map

SHARD_BYTES = 5_000_000_000
"""A model beyond this many bytes is cut into files of about this size, as huggingface_hub does."""

_TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Place:
    file: Path
    begin: int
    shape: Shape
    kind: str


class SafetensorsReader:
    """Reads tensors of a folder with model.safetensors, or shards with an index.

    Raises:
        InputError: no such files, a damaged one, or one that lacks a tensor of the index; named.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._places: dict[str, _Place] = {}
        for file, names in weight_map(folder).items():
            found = _header(file)
            for name in names or found:
                if name not in found:
                    raise InputError(f"is missing, though {INDEX} says it is there", file=file, key=name)
                self._places[name] = found[name]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every tensor."""
        return {name: place.shape for name, place in self._places.items()}

    def dtype(self, name: str) -> torch.dtype:
        """Type of a tensor; raises InputError where it is none of float32, bfloat16 and float16."""
        place = self._places[name]
        if place.kind not in _TYPES:
            raise InputError(
                f"has type {place.kind}, only {', '.join(_TYPES)} can be converted", file=place.file, key=name
            )
        return _TYPES[place.kind]

    def read(self, name: str, begin: int = 0, end: int | None = None) -> torch.Tensor:
        """Rows begin to end of a tensor, in its own type."""
        place, dtype = self._places[name], self.dtype(name)
        end = place.shape[0] if end is None else end
        row = torch.Size(place.shape[1:]).numel() * dtype.itemsize
        values = torch.empty((end - begin, *place.shape[1:]), dtype=dtype)
        with open(place.file, "rb") as file:
            file.seek(place.begin + begin * row)
            count = file.readinto(values.view(torch.uint8).numpy().reshape(-1).data)
        if count != values.nbytes:
            raise InputError("ends too early: it changed while it was read", file=place.file, key=name)
        return values


def _header(file: Path) -> dict[str, _Place]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass  # it checks that the header is sound and fits the file
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"is not a safetensors file ({error})", file=file) from error
    header.pop("__metadata__", None)
    return {
        name: _Place(file, 8 + length + entry["data_offsets"][0], tuple(entry["shape"]), entry["dtype"])
        for name, entry in header.items()
    }


class SafetensorsWriter:
    """Writes a checkpoint's tensors one after the other; a context manager, finished on leaving it without an error.

    Args:
        folder: where model.safetensors, or shards and an index, are created.
        shapes: of all tensors, in the order in which they will be added.
        dtype: of all tensors: float32, bfloat16 or float16.
    """

    def __init__(self, folder: Path, shapes: dict[str, Shape], dtype: torch.dtype):
        self._folder, self._dtype = folder, dtype
        self._shapes = list(shapes.items())
        self._shards = self._cut()
        self._added = 0
        self._stream: IO[bytes] | None = None

    def _size(self, shape: Shape) -> int:
        return torch.Size(shape).numel() * self._dtype.itemsize

    def _cut(self) -> list[list[tuple[str, Shape]]]:
        """Tensors of every file."""
        shards: list[list[tuple[str, Shape]]] = [[]]
        size = 0
        for name, shape in self._shapes:
            if shards[-1] and size + self._size(shape) > SHARD_BYTES:
                shards.append([])
                size = 0
            shards[-1].append((name, shape))
            size += self._size(shape)
        return shards

    def _name(self, shard: int) -> str:
        count = len(self._shards)
        return ONE_FILE if count == 1 else f"model-{shard + 1:05d}-of-{count:05d}.safetensors"

    def __enter__(self) -> SafetensorsWriter:
        return self

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Writes the next tensor, contiguous, of the shape announced and the folder's type."""
        assert (name, tuple(tensor.shape)) == self._shapes[self._added] and tensor.dtype == self._dtype, name
        begins = 0
        for number, shard in enumerate(self._shards):
            if self._added == begins:
                self._close()
                self._stream = open(self._folder / self._name(number), "wb")  # noqa: SIM115  closed by _close
                self._stream.write(self._head(shard))
            begins += len(shard)
        assert self._stream is not None
        self._stream.write(raw_bytes(tensor))
        self._added += 1

    def _head(self, shard: list[tuple[str, Shape]]) -> bytes:
        kind = next(kind for kind, dtype in _TYPES.items() if dtype == self._dtype)
        header: JsonObject = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in shard:
            begin, end = end, end + self._size(shape)
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # so that the values are aligned in memory
        return len(text).to_bytes(8, "little") + text

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._close()
        if kind is not None:
            return
        assert self._added == len(self._shapes), "tensors are missing"
        if len(self._shards) > 1:
            placed = {name: self._name(number) for number, shard in enumerate(self._shards) for name, _ in shard}
            total = sum(self._size(shape) for _, shape in self._shapes)
            files.write_json(self._folder / INDEX, {"metadata": {"total_size": total}, "weight_map": placed})


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor, not copied."""
    return tensor.view(torch.uint8).numpy().reshape(-1).data
