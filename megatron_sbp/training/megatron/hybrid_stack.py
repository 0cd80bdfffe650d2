"""Megatron's HybridModel with a decoder that computes and saves the same as a GPTModel's.

A HybridModel has a layer for every sub-block: layer i of a GPTModel is layers 2i (attention) and 2i + 1 (MLP) here.
Weights are initialized in the same order. Checkpoints keep the names and shapes of a GPTModel, so either model loads
the other's checkpoints, under any layout, and export and import need not distinguish them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from megatron.core.dist_checkpointing.mapping import ShardedStateDict
from megatron.core.dist_checkpointing.utils import replace_prefix_for_sharding
from megatron.core.models.hybrid.hybrid_block import HybridStack, HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_layer_allocation import Symbols
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.transformer import transformer_block
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_layer import TransformerLayerSubmodules
from megatron.core.transformer.utils import sharded_state_dict_default
from megatron.training.models.hybrid import HybridModelBuilder, HybridModelConfig

from megatron_sbp.base.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from megatron.core.transformer.transformer_config import TransformerConfig

PAIR = Symbols.ATTENTION + Symbols.MLP
"""A GPTModel layer in a hybrid layer pattern."""

ATTENTION_PART = ("input_layernorm", "self_attention", "self_attn_bda")
MLP_PART = ("pre_mlp_layernorm", "mlp", "mlp_bda")


class PairedStack(HybridStack):
    """HybridStack of alternating attention and MLP.

    It builds its own final norm, of the same class as in a GPTModel, because HybridStack's needs Transformer Engine.

    Args:
        config: of the model; `num_layers` counts attention and MLP separately.
        submodules: of attention and MLP.
        final_norm: class of the norm after the last layer.
        options: HybridStack's further arguments.
    """

    def __init__(
        self,
        config: TransformerConfig,
        submodules: HybridStackSubmodules,
        final_norm: Callable[..., torch.nn.Module],
        **options: object,
    ):
        super().__init__(config, submodules, post_layer_norm=False, **options)
        if self.post_process:
            self.post_layer_norm = True
            self.final_layernorm = final_norm(
                config=config, hidden_size=config.hidden_size, eps=config.layernorm_epsilon
            )

    @property
    def final_norm(self) -> torch.nn.Module:
        """The final norm, under the name used in HybridStack's forward pass."""
        return self.final_layernorm

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: tuple[()] = (), metadata: dict[str, object] | None = None
    ) -> ShardedStateDict:
        """The stack's tensors under the names and in the shapes of a GPTModel's decoder.

        Layers are stacked on dimension 0 (`decoder.layers.mlp...`), or have separate names (`decoder.layers.7.mlp...`)
        if `metadata` requires it.
        """
        assert not sharded_offsets, sharded_offsets
        options = metadata or {}
        own_names = options.get("non_homogeneous_layers") or options.get("singleton_local_shards")
        found: ShardedStateDict = {}
        for place, layer in enumerate(self.layers):
            pair, here = (layer.layer_number - 1) // len(PAIR), f"{prefix}layers.{place}."
            offsets = [] if own_names else [(0, pair, self.config.num_layers // len(PAIR))]
            of_layer = layer.sharded_state_dict(here, offsets, metadata)
            replace_prefix_for_sharding(of_layer, here, f"{prefix}layers.{pair}." if own_names else f"{prefix}layers.")
            found.update(of_layer)
        for name, module in self.named_children():
            if module is not self.layers:
                found.update(
                    sharded_state_dict_default(module, f"{prefix}{name}.", (), metadata, tp_group=self.tp_group)
                )
        return found


class PairedModel(HybridModel):
    """HybridModel that omits the same items from checkpoints as a GPTModel."""

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: tuple[()] = (), metadata: dict[str, object] | None = None
    ) -> ShardedStateDict:
        """Like HybridModel's, without the output layer's extra state, which is empty."""
        found = super().sharded_state_dict(prefix, sharded_offsets, metadata)
        left_out = found.pop(f"{prefix}output_layer._extra_state", None)
        assert not (left_out and left_out.data), left_out
        return found


class PairedModelBuilder(HybridModelBuilder):
    """Megatron's builder, for PairedModel."""

    def build_model(self, *args: object, **options: object) -> HybridModel:
        """One model chunk of this rank; arguments as HybridModelBuilder's."""
        model = super().build_model(*args, **options)
        model.__class__ = PairedModel  # Megatron's builder names the class; this one only adds a method
        return model


@dataclass(kw_only=True)
class PairedModelConfig(HybridModelConfig):
    """HybridModelConfig that builds PairedModels."""

    builder: ClassVar[str] = f"{PairedModelBuilder.__module__}.{PairedModelBuilder.__qualname__}"


def paired_stack(layer: ModuleSpec | TransformerBlockSubmodules) -> ModuleSpec:
    """The stack with the attention and MLP of a GPTModel's layer.

    Args:
        layer: specification of a TransformerLayer, or of a block of equal ones.

    Raises:
        InputError: the layers differ, or have more than attention and MLP (cross-attention).
    """
    norm = transformer_block.LayerNormImpl
    if isinstance(layer, TransformerBlockSubmodules):
        norm, (first, *others) = layer.layer_norm or norm, layer.layer_specs or []
        if any(other is not first for other in others):
            raise InputError("layers that differ cannot be built by the hybrid model")
        layer = first
    parts = layer.submodules
    plain = TransformerLayerSubmodules()
    if parts.cross_attention != plain.cross_attention:
        raise InputError("a layer with cross-attention cannot be built by the hybrid model")

    def half(names: tuple[str, ...]) -> ModuleSpec:
        taken = {name: getattr(parts, name) for name in names}
        keys = dict(parts.sharded_state_dict_keys_map)
        return replace(layer, submodules=replace(plain, **taken, sharded_state_dict_keys_map=keys))

    submodules = HybridStackSubmodules(attention_layer=half(ATTENTION_PART), mlp_layer=half(MLP_PART))
    return ModuleSpec(module=PairedStack, params={"final_norm": norm}, submodules=submodules)
