"""Megatron's torch_dist checkpoint folders, read and written tensor by tensor: no Megatron, no process group, no GPU.

A folder holds torch.distributed.checkpoint's files (.metadata, *.distcp) and Megatron's metadata.json. A tensor is
stored in chunks; any part of it is assembled from the chunks that it touches.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, DefaultSavePlanner, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.default_planner import create_default_global_save_plan
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, ReadItem, SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.checkpoint.tracker import METADATA

FILE_BYTES = 5_000_000_000
"""A .distcp file is closed when it has reached this size."""

Shape = tuple[int, ...]


class TorchDistReader:
    """Reads tensors of a checkpoint folder, or parts of them.

    Args:
        folder: Megatron's iter_NNNNNNN or release folder, torch_dist format.

    Raises:
        InputError: it is not such a folder.
    """

    def __init__(self, folder: Path):
        logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)
        self.folder = folder
        try:
            self._reader = FileSystemReader(folder)
            metadata = self._reader.read_metadata()
            self._reader.set_up_storage_reader(metadata, is_coordinator=True)
            self._tensors: dict[str, TensorStorageMetadata] = {
                name: entry for name, entry in metadata.state_dict_metadata.items() if hasattr(entry, "size")
            }
        except Exception as error:  # a damaged pickle raises anything
            raise InputError(f"is not a torch_dist checkpoint ({error})", file=folder) from error

    @property
    def shapes(self) -> dict[str, Shape]:
        """Full logical shape of every tensor."""
        return {name: tuple(entry.size) for name, entry in self._tensors.items()}

    def dtype(self, name: str) -> torch.dtype:
        """Type in which a tensor is stored."""
        return self._tensors[name].properties.dtype

    def read(self, name: str, offset: Shape, size: Shape, dtype: torch.dtype) -> torch.Tensor:
        """A part of a tensor, [*size], converted to `dtype`.

        In memory at the same time: the result, and one chunk as it is stored.
        """
        entry, wanted = self._tensors[name], ChunkStorageMetadata(torch.Size(offset), torch.Size(size))
        target = torch.empty(size, dtype=dtype)
        try:
            items = create_read_items_for_chunk_list(name, entry, [wanted])
            found = sum(item.lengths.numel() for item in items)
            if found == target.numel():
                self._reader.read_data(LoadPlan(items), _Into(target))
        except Exception as error:  # a damaged file raises anything
            raise InputError(f"cannot be read ({error})", file=self.folder, key=name) from error
        if found != target.numel():
            raise InputError(f"{found} of {target.numel()} values are in the checkpoint", file=self.folder, key=name)
        return target


class _Into(DefaultLoadPlanner):
    """Copies what was read to its place in one tensor."""

    def __init__(self, target: torch.Tensor):
        super().__init__()
        self._target = target

    def resolve_tensor(self, read_item: ReadItem) -> torch.Tensor:
        part = self._target
        for dimension, (begin, length) in enumerate(zip(read_item.dest_offsets, read_item.lengths, strict=True)):
            part = part.narrow(dimension, begin, length)
        return part

    def commit_tensor(self, read_item: ReadItem, tensor: torch.Tensor) -> None:
        pass


@dataclass(frozen=True)
class Chunk:
    """A part of a tensor that is to be written."""

    name: str
    shape: Shape
    """Of the whole tensor."""
    offset: Shape
    size: Shape
    dtype: torch.dtype
    make: Callable[[], torch.Tensor]
    """Returns the values, [*size] of `dtype`, when it is their turn."""

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return torch.Size(self.size).numel() * self.dtype.itemsize


def write_torch_dist(folder: Path, chunks: list[Chunk], objects: Mapping[str, object]) -> None:
    """Writes a checkpoint folder; one chunk is made at a time (two of the same tensor are in memory together).

    Args:
        folder: to be created; .metadata and metadata.json come last, so that a partial folder is not a checkpoint.
        chunks: of all tensors; together they must cover them.
        objects: Megatron's ShardedObjects by unique key (`NAME/shard_0_1`), anything that torch.load reads safely.
    """
    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)
    makers = {MetadataIndex(chunk.name, chunk.offset): chunk.make for chunk in chunks}
    bytes_items = [WriteItem(MetadataIndex(key), WriteItemType.BYTE_IO) for key in objects]
    plans = [SavePlan(bytes_items), *(SavePlan([_item(chunk) for chunk in file]) for file in _spread(chunks))]
    plans, metadata = create_default_global_save_plan(plans)
    # Without the copy-ahead, which gathers several tensors where there is a GPU.
    writer = FileSystemWriter(folder, per_thread_copy_ahead=0)
    writer.set_up_storage_writer(is_coordinator=True)
    writer.prepare_local_plan(plans[0])
    planner = _From(makers, objects)
    results = [writer.write_data(plan, planner).wait() for plan in writer.prepare_global_plan(plans)]
    writer.finish(metadata, results)
    files.write_json(folder / METADATA, {"sharded_backend": "torch_dist", "sharded_backend_version": 1})


def _spread(chunks: list[Chunk]) -> list[list[Chunk]]:
    """The chunks of every file. A file has one tensor only: torch's writer keeps the last chunk of each in memory."""
    found: list[list[Chunk]] = []
    size = 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.name):
        if not found or found[-1][-1].name != chunk.name or size >= FILE_BYTES:
            found.append([])
            size = 0
        found[-1].append(chunk)
        size += chunk.nbytes
    return found


def _item(chunk: Chunk) -> WriteItem:
    place = ChunkStorageMetadata(torch.Size(chunk.offset), torch.Size(chunk.size))
    data = TensorWriteData(place, TensorProperties(dtype=chunk.dtype), torch.Size(chunk.shape))
    return WriteItem(MetadataIndex(chunk.name, chunk.offset), WriteItemType.SHARD, tensor_data=data)


class _From(DefaultSavePlanner):
    """Makes the values on demand."""

    def __init__(self, makers: dict[MetadataIndex, Callable[[], torch.Tensor]], objects: Mapping[str, object]):
        super().__init__()
        self._makers, self._objects = makers, objects

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor | io.BytesIO:
        if write_item.type == WriteItemType.BYTE_IO:
            data = io.BytesIO()
            torch.save([self._objects[write_item.index.fqn]], data)  # Megatron keeps a list
            return data
        return self._makers[write_item.index]().contiguous()
