"""What a model costs: parameters, floating-point operations, memory. Arithmetic on the recipe, nothing is built.

h hidden size, q = heads x head size, v = key/value groups x head size, f SwiGLU width, l layers, V vocabulary
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.recipe import Launch, Model, Training


@dataclass(frozen=True)
class Parameters:
    """Trainable parameters of the model, counted exactly (rows of the embedding that only pad it included)."""

    embedding: int
    """Input embedding, and the output matrix too where it is not tied."""
    layers: int
    """All decoder layers."""
    final_norm: int
    """RMSNorm in front of the output matrix."""

    @property
    def total(self) -> int:
        return self.embedding + self.layers + self.final_norm


def padded_vocab_size(model: Model, vocab_size: int, tensor_parallel: int = 1) -> int:
    """Rows of the embedding. Megatron multiplies its flag by the tensor-parallel size, training/flags.py divides it."""
    multiple = max(1, model.make_vocab_size_divisible_by // tensor_parallel) * tensor_parallel
    return -(-vocab_size // multiple) * multiple


def _widths(model: Model) -> tuple[int, int]:
    return model.num_attention_heads * model.head_size, model.num_query_groups * model.head_size


def _matrices(model: Model) -> int:
    """Weights of the matrix products of one layer: query, key, value, output, gate, up, down."""
    h, (q, v) = model.hidden_size, _widths(model)
    return h * (q + 2 * v) + q * h + 3 * h * model.ffn_hidden_size


def _norms(model: Model) -> int:
    return 2 * model.hidden_size + (2 * model.head_size if model.qk_layernorm else 0)


def parameters(model: Model, vocab: int) -> Parameters:
    """Counts the parameters; `vocab` is the padded vocabulary."""
    return Parameters(
        embedding=vocab * model.hidden_size * (1 if model.tied_embeddings else 2),
        layers=model.num_layers * (_matrices(model) + _norms(model)),
        final_norm=model.hidden_size,
    )


def training_flops(model: Model, vocab: int, samples: int, sequence_length: int | None = None) -> int:
    """FLOPs of forward and backward pass over `samples` full sequences.

    The formula is that of Megatron's `num_floating_point_operations` (megatron/training/training.py): 6 per weight of a
    matrix product and token, the logits included, and 6 q s^2 per layer and sequence for causal attention, of which
    only the lower half of the scores counts. Norms, softmax, rotary embedding and recomputation do not count.
    """
    length = sequence_length or model.sequence_length
    q, _ = _widths(model)
    per_token = 6 * (model.num_layers * _matrices(model) + model.hidden_size * vocab)
    return samples * (length * per_token + 6 * model.num_layers * q * length * length)


def generation_flops(
    model: Model, vocab: int, prompts: int, prompt_tokens: float, new_tokens: float
) -> tuple[int, int]:
    """FLOPs of reading `prompts` prompts and of writing after each of them; lengths are means in tokens.

    2 per weight and token; attention over the keys so far, 4 q per layer, token and key. Logits: new tokens only.
    """
    q, _ = _widths(model)
    per_token, per_key = 2 * model.num_layers * _matrices(model), 4 * model.num_layers * q
    reading = per_token * prompt_tokens + per_key * prompt_tokens**2 / 2
    writing = (per_token + 2 * model.hidden_size * vocab) * new_tokens
    writing += per_key * (prompt_tokens * new_tokens + new_tokens**2 / 2)
    return round(prompts * reading), round(prompts * writing)


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest rank of a training run."""

    parameters: int
    """Parameters that live on it, a number and not bytes."""
    weights: int
    gradients: int
    optimizer: int
    activations: int
    """An estimate: fused attention, no recomputation unless the recipe's Megatron flags request it in full."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def memory(model: Model, training: Training, launch: Launch, vocab: int, distributed_optimizer: bool) -> Memory:
    """Memory of the fullest rank: a pipeline stage with an embedding (with one stage, all of the model).

    bf16: 2 bytes of weights, 4 of gradients, 4 + 8 of main weights and Adam moments per parameter, as in Megatron's
    theoretical_memory_usage.py; fp32: 4, 4 and 8. The distributed optimizer divides the last by the ranks of the
    data-parallel group, context parallel included.
    """
    tensor, pipeline = launch.tensor_parallel, launch.pipeline_parallel
    data_parallel = launch.nodes * launch.ranks_per_node // (tensor * pipeline)
    embeddings = 1 if pipeline > 1 or model.tied_embeddings else 2
    held = (
        model.num_layers // pipeline * (_matrices(model) // tensor + _norms(model))
        + embeddings * vocab * model.hidden_size // tensor
        + model.hidden_size
    )
    bf16 = training.precision == "bf16"
    optimizer = held * (12 if bf16 else 8)
    if distributed_optimizer:
        optimizer = -(-optimizer // data_parallel)
    return Memory(
        parameters=held,
        weights=held * (2 if bf16 else 4),
        gradients=held * 4,
        optimizer=optimizer,
        activations=_activations(model, training, launch, vocab),
    )


def _activations(model: Model, training: Training, launch: Launch, vocab: int) -> int:
    """Bytes kept for the backward pass.

    Per token and layer, in numbers: 4 h (in and out of both norms), q + 2 v (projections), q + v each for QK-norm and
    rotary embedding, q (attention's output), 3 f (gate, up, their product). Pipeline stages hold as many microbatches
    as there are stages, so their number cancels. Logits: the output, its fp32 copy and its gradient.
    """
    h, (q, v), f = model.hidden_size, _widths(model), model.ffn_hidden_size
    size = 2 if training.precision == "bf16" else 4
    tokens = training.micro_batch_size * model.sequence_length // launch.context_parallel
    split = (q + 2 * v) + (q + v) * (2 if model.qk_layernorm else 1) + q + 3 * f
    layer = size * (4 * h + split / launch.tensor_parallel)
    layers = _layers_kept(training.megatron, model.num_layers, launch.pipeline_parallel, layer, size * h)
    return round(tokens * (layers + (size + 8) * vocab / launch.tensor_parallel))


def _layers_kept(flags: Mapping[str, JsonValue], layers: int, pipeline: int, layer: float, entry: float) -> float:
    """Bytes per token that the layers keep: all of theirs, or what full recomputation leaves of it.

    `block` recomputes the first `recompute-num-layers` layers of a pipeline stage, each from its input; `uniform` all
    layers, in groups of that many. The layers being recomputed are kept whole.

    Args:
        flags: of Megatron.
        layers: of the model.
        pipeline: stages.
        layer: bytes per token of a layer.
        entry: of its input.
    """
    if flags.get("recompute-granularity") != "full":
        return layers * layer
    stage, size = layers // pipeline, int(flags.get("recompute-num-layers") or 1)
    if flags.get("recompute-method") == "block":
        again = min(size, stage)
        return pipeline * (again * entry + (stage - again) * layer) + layer
    return pipeline * -(-stage // size) * entry + min(size, stage) * layer


def checkpoint_bytes(training: Training, launch: Launch, count: int) -> int:
    """One torch_dist checkpoint of `count` parameters: weights, and the optimizer's main weights and moments.

    In fp32 the weights are the main weights; the distributed optimizer saves them once more.
    """
    if training.precision == "bf16":
        return count * (2 + 12)
    return count * (4 + 8 + (4 if launch.distributed_optimizer else 0))
