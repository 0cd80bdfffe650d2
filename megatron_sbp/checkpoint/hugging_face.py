"""Writes a Hugging Face checkpoint from a Megatron one: no Megatron, no GPU, one tensor in memory at a time."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

from megatron_sbp import files
from megatron_sbp.checkpoint.mapping import ALIASES, LAYER, check_shape, expected_shapes, to_hugging_face
from megatron_sbp.errors import InputError
from megatron_sbp.recipe import Model
from megatron_sbp.tokenization.tokenizer import load_tokenizer

ONE_FILE = 5 * 2**30
"""Checkpoints up to this many bytes are one model.safetensors; larger ones have a file per Megatron tensor."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "roles.json")


def export(checkpoint: Path, model: Model, tokenizer: Path, target: Path) -> dict[str, Any]:
    """Exports a checkpoint: Qwen3 when the model has QK-norm, Llama when not (Llama has none).

    Args:
        checkpoint: Megatron's iter_NNNNNNN folder, torch_dist format.
        model: the recipe's model.
        tokenizer: tokenizer folder; its files are copied, its vocabulary size cuts the padded embedding.
        target: folder; replaced as a whole when the export is complete.

    Returns:
        What provenance.json holds: architecture, parameters, sha256 of the weights.

    Raises:
        InputError: the folder is no such checkpoint, a tensor is missing, has another shape, or has no counterpart;
            named.
    """
    import torch.distributed.checkpoint as dcp

    logging.getLogger("torch.distributed.checkpoint").setLevel(logging.ERROR)
    try:
        reader = dcp.FileSystemReader(checkpoint)
        metadata = reader.read_metadata().state_dict_metadata
    except (OSError, ValueError) as error:
        raise InputError(f"is no torch_dist checkpoint ({error})", file=checkpoint) from error
    roles = load_tokenizer(tokenizer)
    names = _names(metadata, model, roles.vocab_size, checkpoint)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    total = sum(_bytes(metadata[stored]) for stored in names.values())
    weights = _write_weights(reader, names, metadata, model, roles.vocab_size, partial, one_file=total <= ONE_FILE)
    dtype = str(next(iter(metadata[stored] for stored in names.values())).properties.dtype).removeprefix("torch.")
    config = _config(model, roles, dtype)
    files.write_json(partial / "config.json", config)
    ids = {"eos_token_id": roles.end_of_document, "pad_token_id": roles.padding}
    files.write_json(partial / "generation_config.json", {"do_sample": True, **ids})
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, partial / name)
    provenance = {
        "architecture": config["architectures"][0],
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "dtype": dtype,
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
    for name in stored.keys() - wanted.keys():
        kind = "of another architecture" if name.startswith(LAYER) else "unknown"
        raise InputError(f"has no counterpart in the recipe's model ({kind})", file=file, key=name)
    return {name: stored[name] for name in wanted}


def _bytes(entry: Any) -> int:
    return entry.size.numel() * entry.properties.dtype.itemsize


def _write_weights(
    reader: Any, names: dict[str, str], metadata: Any, model: Model, vocabulary: int, folder: Path, one_file: bool
) -> dict[str, Any]:
    import safetensors.torch
    import torch
    import torch.distributed.checkpoint as dcp

    whole = hashlib.sha256()
    gathered: dict[str, torch.Tensor] = {}
    placed: dict[str, str] = {}
    parameters = size = 0
    for number, (name, stored) in enumerate(names.items(), start=1):
        entry = metadata[stored]
        state = {stored: torch.empty(entry.size, dtype=entry.properties.dtype)}
        dcp.load(state, storage_reader=reader, no_dist=True)
        parts = dict(to_hugging_face(name, state.pop(stored), model, vocabulary))
        file = "model.safetensors" if one_file else f"model-{number:05d}-of-{len(names):05d}.safetensors"
        for key, value in parts.items():
            gathered[key] = value.contiguous()
            placed[key] = file
            parameters += value.numel()
            size += value.numel() * value.element_size()
            whole.update(key.encode() + gathered[key].view(torch.uint8).numpy().tobytes())
        if not one_file:
            safetensors.torch.save_file(gathered, folder / file, {"format": "pt"})
            gathered = {}
    if one_file:
        safetensors.torch.save_file(gathered, folder / "model.safetensors", {"format": "pt"})
    else:
        index = {"metadata": {"total_size": size}, "weight_map": placed}
        files.write_json(folder / "model.safetensors.index.json", index)
    return {"parameters": parameters, "weights_sha256": whole.hexdigest()}


def _config(model: Model, tokenizer: Any, dtype: str) -> dict[str, Any]:
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
        "pad_token_id": tokenizer.padding,
        "dtype": dtype,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if model.qk_layernorm:
        extra = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "use_sliding_window": False}
    else:
        extra = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    return {**extra, **common}
