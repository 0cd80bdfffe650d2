"""Writes a Hugging Face checkpoint from a Megatron one: no Megatron, no GPU, one piece in memory at a time."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from megatron_sbp.base import files, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG, GENERATION_CONFIG
from megatron_sbp.base.replacing import replace_folder
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint import mapping
from megatron_sbp.checkpoint.hugging_face_config import write_config
from megatron_sbp.checkpoint.hugging_face_folder import PROVENANCE, TOKENIZER_FILES, WEIGHT_FILES, tokenizer_files
from megatron_sbp.recipe import Model
from megatron_sbp.tokenization.hugging_face import open_tokenizer

if TYPE_CHECKING:
    import torch

    from megatron_sbp.checkpoint.safetensors_files import SafetensorsWriter
    from megatron_sbp.checkpoint.torch_dist import TorchDistReader

_WRITTEN = (CONFIG, GENERATION_CONFIG, PROVENANCE, *WEIGHT_FILES, *TOKENIZER_FILES)
"""Patterns of all that an export holds."""


def export(
    checkpoint: Path, model: Model, tokenizer: Path, target: Path, precision: Literal["fp32", "bf16"] | None = None
) -> JsonObject:
    """Exports a checkpoint: Qwen3 if the model has QK-norm, else Llama (which has none).

    The padded rows of the vocabulary are left out: vocab_size is the tokenizer's. Memory: about twice the largest
    tensor (a chunk as it is stored, and what it becomes).

    Args:
        checkpoint: Megatron's iter_NNNNNNN folder, torch_dist format.
        model: the recipe's model.
        tokenizer: folder of a run's tokenizer or any Hugging Face one; its files are copied, its vocabulary size cuts
            the padded embedding.
        target: folder; a former export is replaced as a whole when this one is complete.
        precision: of the weights written; None keeps the checkpoint's.

    Returns:
        What provenance.json holds: architecture, model, iteration, dtype, parameters, weights_sha256, a digest of all
        names and values in the model's order that does not depend on how they are spread over files, and tokenizer
        (vocab_size, and digest: see `TextTokenizer.vocabulary_digest`).

    Raises:
        InputError: the folder is no such checkpoint, a tensor is missing, has another shape, or has no counterpart;
            named. The target is not a former export, or cannot be written.
    """
    from megatron_sbp.checkpoint.safetensors_files import SafetensorsWriter
    from megatron_sbp.checkpoint.torch_dist import TorchDistReader

    outputs.check_folder(target, PROVENANCE, _WRITTEN)
    reader = TorchDistReader(checkpoint)
    if not model.qk_layernorm and model.hidden_size % model.num_attention_heads:
        raise InputError(
            f"{model.num_attention_heads} does not divide hidden_size {model.hidden_size}, and transformers' Llama "
            "requires that for any head size; Qwen3 (model.qk_layernorm: true) does not",
            key="model.num_attention_heads",
        )
    roles = open_tokenizer(str(tokenizer))
    stored = _names(reader, model, roles.vocab_size)
    dtype = _dtype(reader.dtype(stored[mapping.EMBEDDING]), precision)
    pieces = list(mapping.pieces(model, roles.vocab_size))
    shapes = {name: shape for piece in pieces for name, shape in zip(piece.names, piece.shapes, strict=True)}
    whole = hashlib.sha256()
    with replace_folder(target) as partial:
        with SafetensorsWriter(partial, shapes, dtype) as writer:
            for piece in pieces:
                _convert(reader, stored[piece.megatron], piece, model=model, dtype=dtype, writer=writer, whole=whole)
        config = write_config(model, roles, str(dtype).removeprefix("torch."))
        files.write_json(partial / CONFIG, config)
        ids = {key: config[key] for key in ("eos_token_id", "pad_token_id")}
        files.write_json(partial / GENERATION_CONFIG, {"do_sample": True, **ids})
        for file in tokenizer_files(tokenizer):
            shutil.copyfile(file, partial / file.name)
        number = re.fullmatch(r"iter_(\d+)", checkpoint.name)
        provenance = {
            "architecture": config["architectures"][0],
            "model": checkpoint.parent.name,
            "iteration": int(number[1]) if number else None,
            "dtype": config["dtype"],
            "parameters": sum(math.prod(shape) for shape in shapes.values()),
            "weights_sha256": whole.hexdigest(),
            "tokenizer": {"vocab_size": roles.vocab_size, "digest": roles.vocabulary_digest},
        }
        files.write_json(partial / PROVENANCE, provenance)
    return provenance


def read_weights(checkpoint: Path, model: Model, tokenizer: Path) -> tuple[JsonObject, dict[str, torch.Tensor]]:
    """What `export` would write, in memory: config.json, and the tensors by their Hugging Face names, in fp32.

    Args:
        checkpoint: as for `export`, like `model` and `tokenizer`.

    Raises:
        InputError: as `export`.
    """
    import torch

    from megatron_sbp.checkpoint.torch_dist import TorchDistReader

    reader, roles = TorchDistReader(checkpoint), open_tokenizer(str(tokenizer))
    stored = _names(reader, model, roles.vocab_size)
    tensors: dict[str, torch.Tensor] = {}
    for piece in mapping.pieces(model, roles.vocab_size):
        read = reader.read(stored[piece.megatron], piece.offset, piece.size, torch.float32)
        tensors.update(mapping.to_hugging_face(piece, read, model))
    return write_config(model, roles, "float32"), tensors


def _convert(
    reader: TorchDistReader,
    stored: str,
    piece: mapping.Piece,
    *,
    model: Model,
    dtype: torch.dtype,
    writer: SafetensorsWriter,
    whole: hashlib._Hash,
) -> None:
    """Reads one piece and writes its tensors; a function, so that its memory is freed."""
    from megatron_sbp.checkpoint.safetensors_files import raw_bytes

    tensor = reader.read(stored, piece.offset, piece.size, dtype)
    for name, value in mapping.to_hugging_face(piece, tensor, model):
        writer.add(name, value)
        whole.update(name.encode())
        whole.update(raw_bytes(value))


def _names(reader: TorchDistReader, model: Model, vocabulary: int) -> dict[str, str]:
    """Megatron's standard name of every tensor of the model, and the name under which it is stored."""
    shapes, file = reader.shapes, reader.folder
    stored = {
        mapping.ALIASES.get(key, key): key
        for key in shapes
        if key.startswith(("embedding.", "decoder.", "output_layer."))
    }
    wanted = mapping.expected_shapes(model, vocabulary)
    for name, shape in wanted.items():
        if name not in stored:
            raise InputError("is missing from the checkpoint", file=file, key=name)
        mapping.check_shape(name, shapes[stored[name]], shape, vocabulary, file)
    for name in sorted(stored.keys() - wanted.keys()):
        kind = "of another architecture" if name.startswith(mapping.LAYER) else "unknown"
        raise InputError(f"has no counterpart in the recipe's model ({kind})", file=file, key=name)
    return {name: stored[name] for name in wanted}


def _dtype(stored: torch.dtype, precision: str | None) -> torch.dtype:
    """Type of the exported weights: the one requested, or that of the checkpoint's embedding."""
    import torch

    return stored if precision is None else {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
