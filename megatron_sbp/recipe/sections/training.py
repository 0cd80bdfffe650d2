"""Settings of models and their training: the arms', and the synthesizer's tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megatron_sbp.recipe.sections.section import Section
from megatron_sbp.recipe.values import (
    AtLeastOne,
    Count,
    Decay,
    Flags,
    Float,
    NotNegative,
    Positive,
    Switch,
    Text,
    Warmup,
)


class Model(Section):
    """A Llama-style decoder: RMSNorm, SwiGLU, RoPE, grouped-query attention, no biases."""

    num_layers: Count
    """Decoder layers."""
    hidden_size: Count
    """Dimension of the residual stream."""
    ffn_hidden_size: Count
    """Inner dimension of the SwiGLU block."""
    num_attention_heads: Count
    """Query heads."""
    num_query_groups: Count
    """Key and value heads."""
    sequence_length: Count
    """Training context in tokens."""
    kv_channels: Count | None = None
    """Size of a head; null is hidden_size / num_attention_heads."""
    qk_layernorm: Switch = True
    """RMSNorm on queries and keys. With it the export is a Qwen3 checkpoint, without it a Llama one."""
    tied_embeddings: Switch = True
    """Input and output embeddings share one matrix."""
    rotary_base: AtLeastOne = 500_000.0
    """Base of the rotary position embedding, a whole number."""
    norm_epsilon: Positive = 1e-5
    """Epsilon of RMSNorm."""
    init_method_std: Positive = 0.02
    """Standard deviation of the initial weights."""
    make_vocab_size_divisible_by: Count = 128
    """The embedding is padded to a multiple of this (Megatron's flag of the same name)."""

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.kv_channels or self.hidden_size // self.num_attention_heads


class Training(Section):
    """Training of the arms; the same for all, except for an arm's overrides."""

    train_tokens: Count
    """Budget of every arm, rounded up to whole global batches."""
    global_batch_size: Count
    """Sequences in an optimizer step."""
    micro_batch_size: Count
    """Sequences in one forward pass of one data-parallel rank."""
    learning_rate: Positive = 3e-4
    """Peak of the cosine schedule."""
    min_learning_rate: NotNegative = 3e-5
    """End of the cosine schedule."""
    warmup_fraction: Warmup = 0.05
    """Share of the samples over which the learning rate rises linearly."""
    weight_decay: NotNegative = 0.1
    """AdamW's decoupled weight decay."""
    adam_beta1: Decay = 0.9
    """AdamW's first-moment decay."""
    adam_beta2: Decay = 0.95
    """AdamW's second-moment decay."""
    adam_eps: Positive = 1e-8
    """AdamW's epsilon."""
    clip_grad: NotNegative = 1.0
    """Global gradient norm above which gradients are scaled down."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Precision of forward and backward pass; bf16 keeps fp32 main weights."""
    epochs: Literal["strict", "joint"] = "strict"
    """strict: a new permutation per epoch; a longer run starts with the order of a shorter one. joint: Megatron's own
    GPTDataset, all epochs shuffled together."""
    eval_interval: Count = 100
    """Optimizer steps between validations."""
    eval_sequences: Count = 64
    """Validation sequences, rounded up to whole global batches."""
    save_interval: Count = 1000
    """Optimizer steps between checkpoints; the last step always saves."""
    log_interval: Count = 10
    """Optimizer steps between log lines."""
    tensorboard: bool = True
    """Write events for TensorBoard to models/NAME/tensorboard: `tensorboard --logdir RUN`."""
    wandb_project: Text | None = None
    """Weights & Biases project, with one run per training run. Nothing is sent unless WANDB_MODE=online; `wandb sync`
    uploads the files in models/NAME/wandb."""
    model_builder: Literal["auto", "gpt", "hybrid"] = "auto"
    """Megatron's HybridModel, or its GPTModel (deprecated by megatron-core) with the same layers. They compute the same
    function and share checkpoints: a training run can switch between them when it is restarted. auto: hybrid on CPUs,
    gpt on GPUs, where the two have not been compared yet, and with flags that were not compared (fp8, for example)."""
    megatron: Flags = {}
    """Additional Megatron flags for all training runs, by name without the leading dashes: `overlap-grad-reduce: true`;
    true for a flag without a value, false or null to leave it out."""


class Tuning(Section):
    """The synthesizer: p(target | seed document), tuned from the baseline's checkpoint or from another model."""

    start: Text | None = None
    """What the synthesizer is initialized from. null or `last`: the baseline's last checkpoint, as in the paper.
    `best`: its checkpoint with the lowest held-out loss (the baseline then saves at every evaluation, and keeps that
    one). `scratch`: new weights; a model that has memorized D recalls its targets and does not learn to read the seed.
    Anything else: the folder of a Hugging Face checkpoint (Llama, or Qwen3 with QK-norm; safetensors, with its
    tokenizer), relative to the recipe's folder. Its shape must match the recipe's model, its tokenizer the
    run's (`tokenizer.path` can name the same folder)."""
    start_arm: Text = "baseline"
    """The arm that `last` and `best` refer to. An arm other than the baseline adds a round: the synthesizer starts
    from a model that has read synthetic text."""
    learning_rate: Positive = 5e-6
    """Peak, after the warm-up."""
    min_learning_rate: NotNegative | None = None
    """End of a cosine schedule over `max_epochs`; null keeps the rate constant, as the paper does."""
    warmup_fraction: Warmup = 0.0
    """Share of the planned samples over which the learning rate rises linearly."""
    weight_decay: NotNegative = 0.1
    """AdamW's decoupled weight decay."""
    max_epochs: Float = Field(3.0, gt=0, le=1000)
    """Maximum number of passes over the pairs."""
    global_batch_size: Count = 256
    """Packed sequences in an optimizer step."""
    micro_batch_size: Count = 1
    """Packed sequences in one forward pass of one data-parallel rank."""
    sequence_length: Count | None = None
    """Length of a packed sequence; null is the model's. It can be longer: every pair fits into the model's context,
    and attention stays within a pair. Where pairs are nearly as long as that context, this leaves less padding."""
    max_seed_tokens: Count | None = None
    """Longer seed documents are truncated; null gives them half of a pair's length."""
    max_target_tokens: Count | None = None
    """Longer targets are truncated at the end (and then have no end-of-document); null gives them the rest of a pair's
    length."""
    seed_cut: Literal["head", "tail"] = "tail"
    """Which end of a long seed document is truncated."""
    eval_interval: Count = 50
    """Optimizer steps between validations on pairs of the valid split. Each saves a checkpoint; three stay at most."""
    eval_sequences: Count = 64
    """Packed validation sequences, rounded up to whole global batches; at most one pass over the valid pairs."""
    patience: Count = 2
    """Tuning stops after this many validations without a better loss; the best checkpoint is kept."""
