"""Writes a Megatron checkpoint from a Hugging Face one, to continue from: no Megatron, no GPU, one piece in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from megatron_sbp.base import files, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.base.replacing import replace_folder
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint import mapping, tracker
from megatron_sbp.checkpoint.hugging_face_config import ARCHITECTURES, check_model, read_config
from megatron_sbp.recipe import Model

if TYPE_CHECKING:
    import torch

    from megatron_sbp.checkpoint.safetensors_files import SafetensorsReader
    from megatron_sbp.checkpoint.torch_dist import Chunk

BLOCK_BYTES = 2**28
"""Rows of the embedding are read, written, and later loaded by each rank, in blocks of about this size."""

RELEASE = "release"
"""Megatron's name for a checkpoint of weights alone: it starts at iteration 0, without optimizer and random state."""

MARKER = "import.json"
_WRITTEN = (MARKER, tracker.NAME, *(f"{RELEASE}/{name}" for name in ("*.distcp", ".metadata", tracker.METADATA)))
"""Patterns of all that an import holds."""

_LEFT_OUT = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
"""Tensors of old checkpoints that are not weights."""

_STATES_INSIDE = (
    "self_attention.linear_qkv",
    "self_attention.core_attention",
    "self_attention.linear_proj",
    "self_attention.q_layernorm",
    "self_attention.k_layernorm",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)
_STATES_OUTSIDE = ("decoder.final_layernorm",)
"""Modules that expect an _extra_state: the linear layers always, the others with Transformer Engine."""


def import_checkpoint(
    source: Path,
    model: Model | None,
    *,
    vocabulary: int,
    padded: int,
    target: Path,
    precision: Literal["fp32", "bf16"] | None = None,
) -> JsonObject:
    """Imports a Llama or Qwen3 checkpoint; Megatron loads it with --pretrained-checkpoint under any parallel layout.

    Rows of the embedding: those of the checkpoint, as many as `padded` has room for (further ones belong to no token).
    Where `padded` is larger, the rest is the mean of the others. Megatron's padding takes part in the softmax, and
    with the mean a padded entry gets no more than the average probability, whatever the hidden state is: the loss is
    at most log(padded / rows) above the checkpoint's.

    Args:
        source: folder with config.json and model.safetensors, or shards with model.safetensors.index.json.
        model: the recipe's model, with which the checkpoint must agree; None takes the checkpoint's own.
        vocabulary: entries of the tokenizer; the checkpoint's embedding must have a row for each.
        padded: rows of Megatron's embedding (`cost.padded_vocab_size`).
        target: folder for `release` and Megatron's tracker file; a former import is replaced as a whole when this one
            is complete.
        precision: of the weights written; None keeps the checkpoint's.

    Returns:
        What `target`/import.json holds: architecture, dtype, parameters (without padding), rows, vocabulary, padded.

    Raises:
        InputError: something has no counterpart or is missing, disagrees with the model, or has another shape; named.
            The target is not a former import, or cannot be written.
    """
    from megatron_sbp.checkpoint.safetensors_files import SafetensorsReader
    from megatron_sbp.checkpoint.torch_dist import write_torch_dist

    assert padded >= vocabulary, (padded, vocabulary)
    outputs.check_folder(target, MARKER, _WRITTEN)
    config = source / CONFIG
    found, rows = read_config(config)
    if model is not None:
        check_model(found, model, config)
    if rows < vocabulary:
        raise InputError(
            f"is {rows}, the tokenizer has {vocabulary} entries: use tokens that it already has for "
            "tokenizer.end_of_document, padding and separator",
            file=config,
            key="vocab_size",
        )
    reader = SafetensorsReader(source)
    pieces = list(mapping.pieces(found, rows))
    _check_tensors(reader, pieces)
    dtype = _dtype(reader, pieces, precision)
    chunks = [chunk for piece in pieces for chunk in _chunks(reader, piece, found, padded, dtype)]
    written = {
        "architecture": ARCHITECTURES["qwen3" if found.qk_layernorm else "llama"],
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": sum(math.prod(shape) for piece in pieces for shape in piece.shapes),
        "rows": rows,
        "vocabulary": vocabulary,
        "padded": padded,
    }
    with replace_folder(target) as unfinished:
        write_torch_dist(unfinished / RELEASE, chunks, _objects(found))
        files.write_json(unfinished / MARKER, written)
        files.write_text(unfinished / tracker.NAME, RELEASE)
    return written


def _check_tensors(reader: SafetensorsReader, pieces: list[mapping.Piece]) -> None:
    """Raises InputError for a tensor that is missing, has another shape than config.json says, or is not known."""
    shapes = reader.shapes
    wanted = {name: shape for piece in pieces for name, shape in zip(piece.names, piece.shapes, strict=True)}
    for name, shape in wanted.items():
        if name not in shapes:
            raise InputError("is missing from the checkpoint", file=reader.folder, key=name)
        if shapes[name] != shape:
            raise InputError(f"has shape {shapes[name]}, config.json makes it {shape}", file=reader.folder, key=name)
    embedding, output = "model.embed_tokens.weight", "lm_head.weight"
    for name in sorted(shapes.keys() - wanted.keys()):
        if re.fullmatch(_LEFT_OUT, name):
            continue
        if name == output and shapes[name] == wanted[embedding]:
            if not _equal(reader, output, embedding):
                raise InputError(
                    f"differs from {embedding}, though config.json ties them (tie_word_embeddings)",
                    file=reader.folder,
                    key=name,
                )
            continue
        raise InputError("has no counterpart in Megatron's model", file=reader.folder, key=name)


def _blocks(rows: int, columns: int, itemsize: int) -> Iterator[tuple[int, int]]:
    """Begin and end of blocks of rows."""
    step = max(1, BLOCK_BYTES // (columns * itemsize))
    for begin in range(0, rows, step):
        yield begin, min(rows, begin + step)


def _equal(reader: SafetensorsReader, one: str, other: str) -> bool:
    import torch

    rows, columns = reader.shapes[one]
    blocks = _blocks(rows, columns, 4)
    return all(torch.equal(reader.read(one, *block), reader.read(other, *block)) for block in blocks)


def _dtype(reader: SafetensorsReader, pieces: list[mapping.Piece], precision: str | None) -> torch.dtype:
    """Type of the written weights: the one requested, or that of the checkpoint's embedding."""
    import torch

    kinds = {name: reader.dtype(name) for piece in pieces for name in piece.names}  # refuses what it cannot read
    if precision is None:
        return next(iter(kinds.values()))
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def _chunks(
    reader: SafetensorsReader, piece: mapping.Piece, model: Model, padded: int, dtype: torch.dtype
) -> Iterator[Chunk]:
    """What one piece becomes: a chunk, or for the embedding and the output several, with the padding."""
    from megatron_sbp.checkpoint.torch_dist import Chunk

    if piece.megatron in (mapping.EMBEDDING, mapping.OUTPUT):
        (name,), (rows, columns) = piece.names, piece.size
        kept = min(rows, padded)
        for begin, end in _blocks(kept, columns, dtype.itemsize):
            make = partial(_rows, reader, name, begin, end, dtype)
            yield Chunk(piece.megatron, (padded, columns), (begin, 0), (end - begin, columns), dtype, make)
        if padded > kept:
            make = partial(_padding, reader, name, kept, padded - kept, dtype)
            yield Chunk(piece.megatron, (padded, columns), (kept, 0), (padded - kept, columns), dtype, make)
        return
    shape = mapping.expected_shapes(model, 0)[piece.megatron]
    make = partial(_values, reader, piece, model, dtype)
    yield Chunk(piece.megatron, shape, piece.offset, piece.size, dtype, make)


def _rows(reader: SafetensorsReader, name: str, begin: int, end: int, dtype: torch.dtype) -> torch.Tensor:
    return reader.read(name, begin, end).to(dtype)


def _padding(reader: SafetensorsReader, name: str, rows: int, count: int, dtype: torch.dtype) -> torch.Tensor:
    """`count` times the mean of the first `rows` rows."""
    import torch

    total = torch.zeros(reader.shapes[name][1], dtype=torch.float64)
    for begin, end in _blocks(rows, len(total), 16):  # room for the rows once more, in double precision
        total += reader.read(name, begin, end).sum(0, dtype=torch.float64)
    return (total / rows).to(dtype).expand(count, -1).contiguous()


def _values(reader: SafetensorsReader, piece: mapping.Piece, model: Model, dtype: torch.dtype) -> torch.Tensor:
    return mapping.to_megatron(piece, [reader.read(name).to(dtype) for name in piece.names], model)


def _objects(model: Model) -> JsonObject:
    """What Megatron expects to find beside the tensors."""
    import torch

    nothing = torch.empty(0, dtype=torch.uint8)  # what Transformer Engine writes when it has no fp8 state
    states = {
        f"{mapping.LAYER}{module}._extra_state/shard_{layer}_{model.num_layers}": nothing
        for module in _STATES_INSIDE
        for layer in range(model.num_layers)
    }
    states |= {f"{module}._extra_state/shard_0_1": nothing for module in _STATES_OUTSIDE}
    common = {
        # Below 2.0 Megatron would reorder query, key and value.
        "checkpoint_version": 3.0,
        "iteration": 0,
        "content_metadata": {"singleton_local_shards": False, "chained_optim_avoid_prefix": True},
    }
    return {"common_state/shard_0_1": common, **states}
