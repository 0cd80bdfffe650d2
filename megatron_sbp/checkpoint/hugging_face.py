"""Writes a Hugging Face checkpoint from a Megatron one: no Megatron, no GPU, one tensor in memory at a time."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from megatron_sbp import files
from megatron_sbp.checkpoint.mapping import ALIASES, LAYER, check_shape, expected_shapes, to_hugging_face
from megatron_sbp.errors import InputError
from megatron_sbp.recipe import Model
from megatron_sbp.tokenization.hugging_face import open_tokenizer
from megatron_sbp.tokenization.tokenizer import TextTokenizer

if TYPE_CHECKING:
    import torch

ONE_FILE = 5 * 2**30
"""Checkpoints up to this many bytes are one model.safetensors; larger ones have a file per Megatron tensor."""

TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "roles.json", "chat_template*")
"""Patterns of what is copied from the tokenizer's folder."""


def export(
    checkpoint: Path, model: Model, tokenizer: Path, target: Path, precision: Literal["fp32", "bf16"] | None = None
) -> dict[str, Any]:
    """Exports a checkpoint: Qwen3 when the model has QK-norm, Llama when not (Llama has none).

    The padded rows of the vocabulary are left out: vocab_size is the tokenizer's.

    Args:
        checkpoint: Megatron's iter_NNNNNNN folder, torch_dist format.
        model: the recipe's model.
        tokenizer: folder of a run's tokenizer or any Hugging Face one; its files are copied, its vocabulary size cuts
            the padded embedding.
        target: folder; replaced as a whole when the export is complete.
        precision: of the weights written; None keeps the checkpoint's.

    Returns:
        What provenance.json holds: architecture, model, iteration, dtype, parameters, and weights_sha256, a digest of
        all names and values that does not depend on how they are spread over files.

    Raises:
        InputError: the folder is no such checkpoint, a tensor is missing, has another shape, or has no counterpart;
            named.
    """
    import torch.distributed.checkpoint as dcp

    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)
    try:
        reader = dcp.FileSystemReader(checkpoint)
        metadata = reader.read_metadata().state_dict_metadata
    except (OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"is no torch_dist checkpoint ({error})", file=checkpoint) from error
    if not model.qk_layernorm and model.hidden_size % model.num_attention_heads:
        raise InputError(
            f"{model.num_attention_heads} does not divide hidden_size {model.hidden_size}, and transformers' Llama "
            "wants that whatever the size of a head; Qwen3 (model.qk_layernorm: true) does not",
            key="model.num_attention_heads",
        )
    roles = open_tokenizer(str(tokenizer))
    names = _names(metadata, model, roles.vocab_size, checkpoint)
    dtype = _dtype(metadata, names, precision)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    total = sum(metadata[stored].size.numel() * dtype.itemsize for stored in names.values())
    tensors = _Tensors(reader, metadata, names, model, roles.vocab_size, dtype)
    weights = _write_weights(tensors, partial, one_file=total <= ONE_FILE)
    config = _config(model, roles, str(dtype).removeprefix("torch."))
    files.write_json(partial / "config.json", config)
    ids = {key: config[key] for key in ("eos_token_id", "pad_token_id")}
    files.write_json(partial / "generation_config.json", {"do_sample": True, **ids})
    for file in (file for pattern in TOKENIZER_FILES for file in tokenizer.glob(pattern)):
        shutil.copyfile(file, partial / file.name)
    number = re.fullmatch(r"iter_(\d+)", checkpoint.name)
    provenance = {
        "architecture": config["architectures"][0],
        "model": checkpoint.parent.name,
        "iteration": int(number[1]) if number else None,
        "dtype": config["dtype"],
        **weights,
    }
    files.write_json(partial / "provenance.json", provenance)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return provenance


def _names(metadata: dict[str, Any], model: Model, vocabulary: int, file: Path) -> dict[str, str]:
    """Megatron's standard name of every tensor of the model, and the name under which it is stored."""
    stored = {
        ALIASES.get(key, key): key
        for key, entry in metadata.items()
        if hasattr(entry, "size") and key.startswith(("embedding.", "decoder.", "output_layer."))
    }
    wanted = expected_shapes(model, vocabulary)
    for name, shape in wanted.items():
        if name not in stored:
            raise InputError("is missing from the checkpoint", file=file, key=name)
        check_shape(name, tuple(metadata[stored[name]].size), shape, vocabulary, file)
    for name in sorted(stored.keys() - wanted.keys()):
        kind = "of another architecture" if name.startswith(LAYER) else "unknown"
        raise InputError(f"has no counterpart in the recipe's model ({kind})", file=file, key=name)
    return {name: stored[name] for name in wanted}


def _dtype(metadata: dict[str, Any], names: dict[str, str], precision: str | None) -> torch.dtype:
    """Type of the exported weights: the one asked for, or that of the checkpoint's embedding."""
    import torch

    if precision is None:
        return metadata[names["embedding.word_embeddings.weight"]].properties.dtype
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


class _Tensors:
    """The Hugging Face tensors of a checkpoint, in groups that come from one Megatron tensor."""

    def __init__(self, reader: Any, metadata: Any, names: dict[str, str], model: Model, vocabulary: int, dtype: Any):
        self._reader, self._metadata, self._names = reader, metadata, names
        self._model, self._vocabulary, self._dtype = model, vocabulary, dtype

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        import torch
        import torch.distributed.checkpoint as dcp

        for name, stored in self._names.items():
            entry = self._metadata[stored]
            state = {stored: torch.empty(entry.size, dtype=entry.properties.dtype)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that there is no process group
                dcp.load(state, storage_reader=self._reader, no_dist=True)
            parts = to_hugging_face(name, state.pop(stored), self._model, self._vocabulary)
            yield {key: value.to(self._dtype).contiguous() for key, value in parts}


def _write_weights(tensors: _Tensors, folder: Path, one_file: bool) -> dict[str, Any]:
    import safetensors.torch
    import torch

    whole = hashlib.sha256()
    gathered: dict[str, torch.Tensor] = {}
    placed: dict[str, str] = {}
    parameters = size = 0
    for number, parts in enumerate(tensors, start=1):
        file = "model.safetensors" if one_file else f"model-{number:05d}-of-{len(tensors):05d}.safetensors"
        for key, value in parts.items():
            gathered[key] = value.clone() if one_file else value  # a view would keep the whole stack of layers alive
            placed[key] = file
            parameters += value.numel()
            size += value.nbytes
            whole.update(key.encode())
            whole.update(value.view(torch.uint8).numpy())
        if not one_file:
            safetensors.torch.save_file(gathered, folder / file, {"format": "pt"})
            gathered = {}
    if one_file:
        safetensors.torch.save_file(gathered, folder / "model.safetensors", {"format": "pt"})
    else:
        index = {"metadata": {"total_size": size}, "weight_map": placed}
        files.write_json(folder / "model.safetensors.index.json", index)
    return {"parameters": parameters, "weights_sha256": whole.hexdigest()}


def _config(model: Model, tokenizer: TextTokenizer, dtype: str) -> dict[str, Any]:
    common = {
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_query_groups,
        "head_dim": model.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": model.sequence_length,
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
        "tie_word_embeddings": model.tied_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": model.init_method_std,
        "bos_token_id": None,
        "eos_token_id": tokenizer.end_of_document,
        "pad_token_id": tokenizer.padding if "padding" in tokenizer.roles else None,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if model.qk_layernorm:
        extra = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": False}
    else:
        extra = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    return {**extra, **common}
