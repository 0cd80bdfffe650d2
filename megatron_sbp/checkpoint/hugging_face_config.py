"""config.json of Llama and Qwen3 checkpoints and the recipe's model, both ways. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import Model, make_section

if TYPE_CHECKING:
    from megatron_sbp.tokenization.tokenizer import TextTokenizer

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
"""model_type and architecture of what can be written and read. Qwen3 is Llama with QK-norm."""

_KEYS = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "num_attention_heads": "num_attention_heads",
    "num_query_groups": "num_key_value_heads",
    "kv_channels": "head_dim",
    "qk_layernorm": "model_type",
    "tied_embeddings": "tie_word_embeddings",
    "rotary_base": "rope_theta",
    "norm_epsilon": "rms_norm_eps",
}
"""Fields of the recipe's model that a checkpoint decides, and their keys in config.json."""

_ONLY: dict[str, tuple[object, str]] = {
    "attention_bias": (False, "Megatron is started without biases"),
    "mlp_bias": (False, "Megatron is started without biases"),
    "use_sliding_window": (False, "attention sees the whole sequence"),
    "hidden_act": ("silu", "the FFN is SwiGLU"),
    "partial_rotary_factor": (1.0, "all channels of a head are rotated"),
    "quantization_config": (None, "weights are not dequantized"),
}
"""Keys of config.json that may be missing or have this value, and why."""


def write_config(model: Model, tokenizer: TextTokenizer, dtype: str) -> JsonObject:
    """config.json of an export.

    Args:
        model: the recipe's model.
        tokenizer: for vocab_size and the ids of end-of-document and padding.
        dtype: of the weights: float32, bfloat16 or float16.
    """
    kind = "qwen3" if model.qk_layernorm else "llama"
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        **({"use_sliding_window": False} if model.qk_layernorm else {"mlp_bias": False}),
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


def read_config(file: Path) -> tuple[Model, int]:
    """The model that a config.json describes, and the rows of its embedding.

    Keys that older checkpoints leave out have the values that transformers gives them.

    Args:
        file: config.json of a Llama or Qwen3 checkpoint.

    Raises:
        InputError: another architecture, or a feature that Megatron is not started with (biases, scaled RoPE, sliding
            windows, experts, quantized weights, another activation); names the key.
    """
    if not file.exists():
        raise InputError("not a Hugging Face checkpoint: the file is missing", file=file)
    config = files.read_json(file)
    if not isinstance(config, dict):
        raise InputError("is not a JSON object", file=file)
    try:
        return _described(config, file)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(f"has a value of a kind that transformers does not write ({error})", file=file) from error


def _described(config: JsonObject, file: Path) -> tuple[Model, int]:
    """See `read_config`."""
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise InputError(f"is {kind!r}, it must be one of {', '.join(ARCHITECTURES)}", file=file, key="model_type")
    named = config.get("architectures") or [ARCHITECTURES[kind]]
    if named != [ARCHITECTURES[kind]]:
        raise InputError(f"is {named}, for {kind} it must be {[ARCHITECTURES[kind]]}", file=file, key="architectures")
    for key, (allowed, why) in _ONLY.items():
        if config.get(key, allowed) not in (allowed, None):
            raise InputError(f"is {config[key]!r}, it must be {allowed!r}: {why}", file=file, key=key)
    for key in config:
        if "expert" in key and config[key]:
            raise InputError(f"is {config[key]!r}: a mixture of experts has no counterpart here", file=file, key=key)
    others = {layer for layer in config.get("layer_types") or [] if layer != "full_attention"}
    if others:
        raise InputError(
            f"has {', '.join(sorted(others))}, only full_attention is supported", file=file, key="layer_types"
        )

    def value(key: str) -> JsonValue:
        if config.get(key) is None:
            raise InputError("is missing", file=file, key=key)
        return config[key]

    hidden, heads = value("hidden_size"), value("num_attention_heads")
    try:
        model = make_section(
            Model,
            num_layers=value("num_hidden_layers"),
            hidden_size=hidden,
            ffn_hidden_size=value("intermediate_size"),
            num_attention_heads=heads,
            num_query_groups=config.get("num_key_value_heads") or heads,
            sequence_length=value("max_position_embeddings"),
            kv_channels=config.get("head_dim") or (128 if kind == "qwen3" else hidden // heads),
            qk_layernorm=kind == "qwen3",
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
            rotary_base=_rotary_base(config, file),
            norm_epsilon=config.get("rms_norm_eps", 1e-6),
        )
    except InputError as error:
        if error.file is not None:
            raise
        raise InputError(error.reason, file=file, key=_KEYS.get(str(error.key), "max_position_embeddings")) from None
    rows = value("vocab_size")
    if not isinstance(rows, int):
        raise InputError(f"must be a whole number, not {rows!r}", file=file, key="vocab_size")
    return model, rows


def _rotary_base(config: JsonObject, file: Path) -> float:
    base = config.get("rope_theta") or 10_000.0
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default" or any(isinstance(inner, dict) for inner in rope.values()):
            raise InputError(f"is {rope}: only unscaled RoPE (rope_type default) is supported", file=file, key=key)
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise InputError(f"is {rope}: all channels of a head must be rotated", file=file, key=key)
        base = rope.get("rope_theta", base)
    return float(base)


def check_model(found: Model, wanted: Model, file: Path) -> None:
    """Raises InputError for the first value in which a checkpoint's model differs from the recipe's.

    Args:
        found: what `read_config` gave.
        wanted: the recipe's model.
        file: config.json, for the message.
    """
    wanted = wanted.model_copy(update={"kv_channels": wanted.head_size})
    for name, key in _KEYS.items():
        theirs, ours = getattr(found, name), getattr(wanted, name)
        if theirs == ours:
            continue
        shown = f"is {theirs!r}"
        if name == "qk_layernorm":
            shown = "is qwen3 (QK-norm)" if theirs else "is llama (no QK-norm)"
        raise InputError(f"{shown}, the recipe's model.{name} is {ours!r}", file=file, key=key)
