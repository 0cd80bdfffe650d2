"""Everything that a distributed checkpoint holds, for comparing two of them."""

from __future__ import annotations

from pathlib import Path

import torch


def checkpoint_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All tensors of a distributed checkpoint: parameters, optimizer moments, main parameters."""
    import torch.distributed.checkpoint as dcp

    reader = dcp.FileSystemReader(checkpoint)
    entries = reader.read_metadata().state_dict_metadata
    found = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in entries.items()
        if hasattr(entry, "size")
    }
    dcp.load(found, storage_reader=reader, no_dist=True)
    return found
