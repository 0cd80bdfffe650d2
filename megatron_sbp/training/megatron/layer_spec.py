"""Specification of the decoder layer: Transformer Engine's modules if it is installed, otherwise torch's.

Passed to Megatron by its flag: `--spec megatron_sbp.training.megatron.layer_spec layer_spec`.
"""

from __future__ import annotations

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer import transformer_block
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.training.models.gpt import GPTModelConfig, default_layer_spec

from megatron_sbp.training.megatron.attention import SdpaAttention


def layer_spec(config: GPTModelConfig, vp_stage: int | None = None) -> ModuleSpec:
    """Layer specification for a GPTModelConfig.

    With `--transformer-impl local` the core attention is SdpaAttention, and the RMSNorm after the last layer is
    torch's, as in the layers: with Apex but without Transformer Engine, Megatron would use Apex's norm, which supports
    only LayerNorm. With Transformer Engine, attention is Transformer Engine's, aware of pair boundaries.
    """
    transformer = config.transformer
    if transformer.transformer_impl == "transformer_engine":
        from megatron_sbp.training.megatron.te_attention import PackedTEAttention

        block = default_layer_spec(config, vp_stage)
        for layer in getattr(block, "layer_specs", [block]):
            layer.submodules.self_attention.submodules.core_attention = PackedTEAttention
        return block
    if transformer.normalization == "RMSNorm":
        transformer_block.LayerNormImpl = WrappedTorchNorm
    spec = get_gpt_layer_local_spec(qk_layernorm=transformer.qk_layernorm, normalization=transformer.normalization)
    spec.submodules.self_attention.submodules.core_attention = SdpaAttention
    return spec
