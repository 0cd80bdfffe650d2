"""Names and shapes: a Megatron decoder's tensors as Llama or Qwen3 names them. Pure tensor arithmetic.

Megatron's checkpoint holds full logical tensors, layers stacked on dimension 0, whatever the parallel layout was.
Shape suffixes: L layers, H query heads, G key/value heads, D channels of a head, M hidden size, F FFN size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from megatron_sbp.errors import InputError
from megatron_sbp.recipe import Model

if TYPE_CHECKING:
    import torch

LAYER = "decoder.layers."
ALIASES = {
    # Without Transformer Engine the norms in front of a linear layer have names of their own.
    "decoder.layers.input_layernorm.weight": "decoder.layers.self_attention.linear_qkv.layer_norm_weight",
    "decoder.layers.pre_mlp_layernorm.weight": "decoder.layers.mlp.linear_fc1.layer_norm_weight",
}
"""Other names under which a tensor may stand in the checkpoint."""


def expected_shapes(model: Model, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Megatron tensors of a model and their shapes; -1 where the padded vocabulary may be larger than `vocabulary`."""
    layers, hidden, head = model.num_layers, model.hidden_size, model.head_size
    heads, groups, ffn = model.num_attention_heads, model.num_query_groups, model.ffn_hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.word_embeddings.weight": (-1, hidden),
        f"{LAYER}self_attention.linear_qkv.layer_norm_weight": (layers, hidden),
        f"{LAYER}self_attention.linear_qkv.weight": (layers, (heads + 2 * groups) * head, hidden),
        f"{LAYER}self_attention.linear_proj.weight": (layers, hidden, heads * head),
        f"{LAYER}mlp.linear_fc1.layer_norm_weight": (layers, hidden),
        f"{LAYER}mlp.linear_fc1.weight": (layers, 2 * ffn, hidden),
        f"{LAYER}mlp.linear_fc2.weight": (layers, hidden, ffn),
        "decoder.final_layernorm.weight": (hidden,),
    }
    if model.qk_layernorm:
        shapes[f"{LAYER}self_attention.q_layernorm.weight"] = (layers, head)
        shapes[f"{LAYER}self_attention.k_layernorm.weight"] = (layers, head)
    if not model.tied_embeddings:
        shapes["output_layer.weight"] = (-1, hidden)
    return shapes


def check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...], vocabulary: int, file) -> None:
    """Raises InputError when a tensor has another shape than the recipe's model gives it."""
    same = len(shape) == len(wanted) and all(w in (s, -1) for s, w in zip(shape, wanted, strict=True))
    if not same or (wanted[0] == -1 and shape[0] < vocabulary):
        described = str(wanted).replace("-1", f"{vocabulary} or more")
        raise InputError(f"has shape {tuple(shape)}, the recipe's model has {described}", file=file, key=name)


def to_hugging_face(
    name: str, tensor: torch.Tensor, model: Model, vocabulary: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """The Hugging Face tensors that one Megatron tensor becomes.

    Args:
        name: Megatron's name.
        tensor: of the shape in `expected_shapes`.
        model: the recipe's model.
        vocabulary: rows of the embedding that are not padding.
    """
    if name == "embedding.word_embeddings.weight":
        yield "model.embed_tokens.weight", tensor[:vocabulary]
    elif name == "output_layer.weight":
        yield "lm_head.weight", tensor[:vocabulary]
    elif name == "decoder.final_layernorm.weight":
        yield "model.norm.weight", tensor
    else:
        for layer, part in enumerate(tensor):
            for short, value in _layer(name.removeprefix(LAYER), part, model):
                yield f"model.layers.{layer}.{short}.weight", value


def _layer(name: str, part: torch.Tensor, model: Model) -> Iterator[tuple[str, torch.Tensor]]:
    plain = {
        "self_attention.linear_qkv.layer_norm_weight": "input_layernorm",
        "self_attention.linear_proj.weight": "self_attn.o_proj",
        "self_attention.q_layernorm.weight": "self_attn.q_norm",
        "self_attention.k_layernorm.weight": "self_attn.k_norm",
        "mlp.linear_fc1.layer_norm_weight": "post_attention_layernorm",
        "mlp.linear_fc2.weight": "mlp.down_proj",
    }
    if name in plain:
        yield plain[name], part
    elif name == "mlp.linear_fc1.weight":
        gate_FM, up_FM = part.chunk(2)  # SwiGLU: gate first
        yield "mlp.gate_proj", gate_FM
        yield "mlp.up_proj", up_FM
    elif name == "self_attention.linear_qkv.weight":
        # Group by group: the query heads of the group, then its key head, then its value head.
        groups, head = model.num_query_groups, model.head_size
        per_group = model.num_attention_heads // groups
        grouped = part.reshape(groups, per_group + 2, head, -1)
        yield "self_attn.q_proj", grouped[:, :per_group].reshape(-1, part.shape[-1])
        yield "self_attn.k_proj", grouped[:, per_group].reshape(-1, part.shape[-1])
        yield "self_attn.v_proj", grouped[:, per_group + 1].reshape(-1, part.shape[-1])
    else:
        raise InputError("has no counterpart in Llama or Qwen3", key=name)
