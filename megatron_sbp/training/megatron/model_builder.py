"""Selects the Megatron model of a training run: HybridModel, or GPTModel with the same layers.

megatron-core 0.19.2 calls GPTModel deprecated in favor of HybridModel. Both compute the same and share their
checkpoints (see hybrid_stack.py): a training run can switch between them whenever it is started. The default is the
HybridModel where the two were compared, that is, on CPUs, and the GPTModel elsewhere.
"""

from __future__ import annotations

import copy
import inspect
from argparse import Namespace
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import InputError

if TYPE_CHECKING:
    from megatron.core.transformer.spec_utils import ModuleSpec
    from megatron.core.transformer.transformer_config import TransformerConfig
    from megatron.training.models.gpt import GPTModelConfig
    from megatron.training.models.hybrid import HybridModelConfig

BUILDERS = ("auto", "gpt", "hybrid")
DEFAULT = "auto"
"""Default without a recipe; a test checks that it equals the recipe's default."""

REFUSED_BY_HYBRID: dict[str, tuple[tuple[object, ...], str]] = {
    "num_experts": ((None,), "experts"),
    "mtp_num_layers": ((None, 0), "multi-token prediction"),
    "multi_latent_attention": ((False,), "multi-latent attention"),
    "experimental_attention_variant": ((None,), "experimental attention"),
    "heterogeneous_layers_config_path": ((None,), "layers that differ"),
    "no_rope_freq": ((None,), "layers that differ"),
    "window_attn_skip_freq": ((None,), "layers that differ"),
    "use_rope_scaling": ((False,), "scaled rotary embedding"),
    "position_embedding_type": (("rope", "none", "learned_absolute"), "other position embeddings"),
    "apply_query_key_layer_scaling": ((False,), "scaling by the number of the layer"),
    "attention_backend": (("auto", "flash", "fused", "unfused"), "Megatron's own attention"),
    "pipeline_model_parallel_layout": ((None,), "a pipeline layout by hand"),
    "use_mup": ((False,), "maximal update parametrization"),
    "fp8": ((None,), "fp8"),
    "fp4": ((None,), "fp4"),
    "cuda_graph_impl": (("none",), "CUDA graphs"),
    "cpu_offloading": ((False,), "offloading of activations"),
    "fine_grained_activation_offloading": ((False,), "offloading of activations"),
    "use_megatron_fsdp": ((False,), "Megatron FSDP"),
    "use_torch_fsdp2": ((False,), "FSDP 2"),
    "yaml_cfg": ((None,), "a YAML file for Megatron"),
}
"""Megatron arguments not covered by the comparison: the allowed values, and the meaning of others."""


def choose_builder(args: Namespace, on_cpu: bool) -> None:
    """Replaces `auto` in `args.sbp_model_builder` by `hybrid` where the models were compared, by `gpt` elsewhere.

    Args:
        args: Megatron's arguments with those of this package.
        on_cpu: whether the ranks run on CPUs. On GPUs, and with Transformer Engine, the models were not compared.

    Raises:
        InputError: for Megatron arguments with which the builder in `args` was not tested.
    """
    if getattr(args, "hybrid_layer_pattern", None) is not None:
        raise InputError("--hybrid-layer-pattern is derived from --num-layers. Leave it out")
    refusal = _refusal(args)
    if args.sbp_model_builder == "auto":
        args.sbp_model_builder = "hybrid" if on_cpu and refusal is None else "gpt"
    elif args.sbp_model_builder == "hybrid" and refusal is not None:
        raise InputError(refusal)


def _refusal(args: Namespace) -> str | None:
    """Why these arguments need a GPTModel; None if either model works."""
    for name, (allowed, what) in REFUSED_BY_HYBRID.items():
        value = getattr(args, name, allowed[0])
        if getattr(value, "name", value) not in allowed:
            flag = "--" + name.replace("_", "-")
            return (
                f"{flag} {getattr(value, 'name', value)}: {what} was not compared between Megatron's two models. "
                "Set training.model_builder to gpt"
            )
    if len(getattr(args, "cp_comm_type", None) or [None]) > 1:
        return "--cp-comm-type by layer needs training.model_builder gpt"
    return None


def model_config(args: Namespace) -> GPTModelConfig | HybridModelConfig:
    """The model argument of `pretrain()`: a GPTModelConfig or a HybridModelConfig.

    Args:
        args: Megatron's arguments with those of this package, after `choose_builder`.
    """
    from megatron.training.argument_utils import gpt_config_from_args

    config = gpt_config_from_args(args)
    if args.sbp_model_builder == "gpt":
        return config
    _accept_gpt_checkpoints()
    return hybrid_config(config)


def hybrid_config(gpt: GPTModelConfig) -> HybridModelConfig:
    """The HybridModelConfig of the same model.

    Args:
        gpt: a GPTModelConfig of equal layers; its transformer's initial weights, pipeline stages and recomputation
            are kept.
    """
    from megatron.training.models.gpt import default_layer_spec

    from megatron_sbp.training.megatron.hybrid_stack import PAIR, PairedModelConfig, paired_stack

    layer = gpt.transformer_layer_spec or default_layer_spec
    transformer = copy.copy(gpt.transformer)
    transformer.is_hybrid_model = True
    transformer.num_layers *= len(PAIR)
    if transformer.recompute_num_layers is not None:
        transformer.recompute_num_layers *= len(PAIR)
    # The pattern defines the stages; these would be redundant.
    transformer.num_layers_in_first_pipeline_stage = transformer.num_layers_in_last_pipeline_stage = None
    transformer.account_for_embedding_in_pipeline_split = transformer.account_for_loss_in_pipeline_split = False
    return PairedModelConfig(
        transformer=transformer,
        hybrid_layer_pattern=layer_pattern(gpt.transformer),
        hybrid_stack_spec=paired_stack(_resolved(layer, gpt)),
        vocab_size=gpt.vocab_size,
        should_pad_vocab=gpt.should_pad_vocab,
        make_vocab_size_divisible_by=gpt.make_vocab_size_divisible_by,
        seq_length=gpt.seq_length,
        fp16_lm_cross_entropy=gpt.fp16_lm_cross_entropy,
        parallel_output=gpt.parallel_output,
        share_embeddings_and_output_weights=gpt.share_embeddings_and_output_weights,
        position_embedding_type=gpt.position_embedding_type,
        rotary_percent=gpt.rotary_percent,
        rotary_base=gpt.rotary_base,
        seq_len_interpolation_factor=gpt.seq_len_interpolation_factor,
    )


def layer_pattern(transformer: TransformerConfig) -> str:
    """Megatron's hybrid layer pattern of a GPTModel: `*-*-|*-*-` for four layers on two pipeline stages.

    Args:
        transformer: the GPTModel's TransformerConfig.
    """
    from megatron.core.transformer.transformer_block import get_num_layers_to_build

    from megatron_sbp.training.megatron.hybrid_stack import PAIR

    ranks, chunks = transformer.pipeline_model_parallel_size, transformer.virtual_pipeline_model_parallel_size
    stages = [(chunk, rank) for chunk in range(chunks or 1) for rank in range(ranks)]
    return "|".join(
        PAIR * get_num_layers_to_build(transformer, vp_stage=chunk if chunks else None, pp_rank=rank)
        for chunk, rank in stages
    )


def _resolved(layer: object, gpt: GPTModelConfig) -> ModuleSpec:
    """A layer specification, resolved if it is a function."""
    from megatron.core.transformer.spec_utils import ModuleSpec

    if isinstance(layer, ModuleSpec) or not callable(layer):
        return layer
    return layer(gpt, vp_stage=None) if "vp_stage" in inspect.signature(layer).parameters else layer(gpt)


def _accept_gpt_checkpoints() -> None:
    """Lets Megatron load a GPTModel's checkpoint into a PairedModel unchanged.

    Megatron would translate the names of HybridStack, which a PairedModel does not use.
    """
    import megatron.training.checkpointing as checkpointing

    checkpointing._maybe_setup_gpt_to_hybrid_load = lambda args, ckpt_args, model: (None, False)
