"""Names and shapes: a Megatron decoder's tensors and those of Llama or Qwen3, both ways. Pure tensor arithmetic.

Megatron's checkpoint holds full logical tensors, layers stacked on dimension 0, whatever the parallel layout was. They
are converted piece by piece, so that neither way needs more than a piece in memory.
Shape suffixes: L layers, H query heads, G key/value heads, D channels of a head, M hidden size, F FFN size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe import Model

if TYPE_CHECKING:
    from pathlib import Path

    import torch

LAYER = "decoder.layers."
ALIASES = {
    # Names of the modules without Transformer Engine; Megatron's own layer specification saves under the others, too.
    "decoder.layers.input_layernorm.weight": "decoder.layers.self_attention.linear_qkv.layer_norm_weight",
    "decoder.layers.pre_mlp_layernorm.weight": "decoder.layers.mlp.linear_fc1.layer_norm_weight",
}
"""Other names that a tensor may have in the checkpoint."""

EMBEDDING = "embedding.word_embeddings.weight"
OUTPUT = "output_layer.weight"
_OUTSIDE = {
    EMBEDDING: "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    OUTPUT: "lm_head.weight",
}
"""Megatron tensors outside the layers and what Hugging Face calls them."""

_QKV = "self_attention.linear_qkv.weight"
_INSIDE = {
    "self_attention.linear_qkv.layer_norm_weight": ("input_layernorm",),
    _QKV: ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention.q_layernorm.weight": ("self_attn.q_norm",),
    "self_attention.k_layernorm.weight": ("self_attn.k_norm",),
    "self_attention.linear_proj.weight": ("self_attn.o_proj",),
    "mlp.linear_fc1.layer_norm_weight": ("post_attention_layernorm",),
    "mlp.linear_fc1.weight": ("mlp.gate_proj", "mlp.up_proj"),  # SwiGLU: gate first
    "mlp.linear_fc2.weight": ("mlp.down_proj",),
}
"""Megatron tensors of the layers (after LAYER) and the Hugging Face ones that they hold."""


@dataclass(frozen=True)
class Piece:
    """What is converted at a time: one Hugging Face tensor, or the query, key and value of a layer together."""

    megatron: str
    """Name of the Megatron tensor that holds it."""
    offset: tuple[int, ...]
    """Where in that tensor it begins."""
    size: tuple[int, ...]
    """Its shape there; 1 in the dimension of the layers."""
    names: tuple[str, ...]
    """Hugging Face names."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the Hugging Face tensors."""


def expected_shapes(model: Model, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Megatron tensors of a model and their shapes; -1 where the padded vocabulary may be larger than `vocabulary`."""
    layers, hidden, head = model.num_layers, model.hidden_size, model.head_size
    heads, groups, ffn = model.num_attention_heads, model.num_query_groups, model.ffn_hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        EMBEDDING: (-1, hidden),
        f"{LAYER}self_attention.linear_qkv.layer_norm_weight": (layers, hidden),
        f"{LAYER}{_QKV}": (layers, (heads + 2 * groups) * head, hidden),
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
        shapes[OUTPUT] = (-1, hidden)
    return shapes


def check_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...], vocabulary: int, file: Path) -> None:
    """Raises InputError when a tensor has another shape than the recipe's model gives it."""
    same = len(shape) == len(wanted) and all(w in (s, -1) for s, w in zip(shape, wanted, strict=True))
    if not same or (wanted[0] == -1 and shape[0] < vocabulary):
        described = str(wanted).replace("-1", f"{vocabulary} or more")
        raise InputError(f"has shape {tuple(shape)}, the recipe's model has {described}", file=file, key=name)


def pieces(model: Model, vocabulary: int) -> Iterator[Piece]:
    """All pieces of a model in the order of its Hugging Face tensors: embedding, layer by layer, final norm, output.

    Args:
        model: the recipe's model.
        vocabulary: rows of the Hugging Face embedding.
    """
    shapes = expected_shapes(model, vocabulary)
    for name, theirs in _OUTSIDE.items():
        if name == "decoder.final_layernorm.weight":
            for layer in range(model.num_layers):
                for short in _INSIDE:
                    if LAYER + short in shapes:
                        yield from _layer(short, shapes[LAYER + short], layer, model)
        if name in shapes:
            size = (vocabulary if shapes[name][0] == -1 else shapes[name][0], *shapes[name][1:])
            yield Piece(name, (0,) * len(size), size, (theirs,), (size,))


def _layer(short: str, shape: tuple[int, ...], layer: int, model: Model) -> Iterator[Piece]:
    names = tuple(f"model.layers.{layer}.{theirs}.weight" for theirs in _INSIDE[short])
    _, rows, *columns = shape
    offset = (layer, *(0 for _ in shape[1:]))
    if short == _QKV:
        heads = (model.num_attention_heads, model.num_query_groups, model.num_query_groups)
        parts = tuple((count * model.head_size, *columns) for count in heads)
        yield Piece(LAYER + short, offset, (1, *shape[1:]), names, parts)
        return
    rows //= len(names)
    for place, name in enumerate(names):
        begin = (layer, place * rows, *offset[2:])
        yield Piece(LAYER + short, begin, (1, rows, *columns), (name,), ((rows, *columns),))


def to_hugging_face(piece: Piece, tensor: torch.Tensor, model: Model) -> Iterator[tuple[str, torch.Tensor]]:
    """The Hugging Face tensors of a piece, by name, contiguous.

    Args:
        piece: of `pieces`.
        tensor: what Megatron has there, of shape `piece.size`.
        model: the recipe's model.
    """
    if len(piece.names) == 1:
        yield piece.names[0], tensor.reshape(piece.shapes[0])
        return
    # Group by group: the query heads of the group, then its key head, then its value head.
    per_group, columns = model.num_attention_heads // model.num_query_groups, piece.size[-1]
    grouped = tensor.reshape(model.num_query_groups, per_group + 2, model.head_size, columns)
    yield piece.names[0], grouped[:, :per_group].reshape(-1, columns)
    for place, name in enumerate(piece.names[1:]):
        yield name, grouped[:, per_group + place].reshape(-1, columns)


def to_megatron(piece: Piece, tensors: Sequence[torch.Tensor], model: Model) -> torch.Tensor:
    """The inverse of `to_hugging_face`: what Megatron has at `piece`, of shape `piece.size`.

    Args:
        piece: of `pieces`.
        tensors: one for each of `piece.names`, of the shapes in `piece.shapes`.
        model: the recipe's model.
    """
    if len(piece.names) == 1:
        return tensors[0].reshape(piece.size)
    groups, head, columns = model.num_query_groups, model.head_size, piece.size[-1]
    per_group = model.num_attention_heads // groups
    grouped = tensors[0].new_empty(groups, per_group + 2, head, columns)
    grouped[:, :per_group] = tensors[0].reshape(groups, per_group, head, columns)
    for place, tensor in enumerate(tensors[1:]):
        grouped[:, per_group + place] = tensor.reshape(groups, head, columns)
    return grouped.reshape(piece.size)
