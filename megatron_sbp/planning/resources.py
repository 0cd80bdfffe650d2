"""Memory per rank and disk space of a run. Arithmetic only; what depends on missing data is estimated."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning import cost
from megatron_sbp.planning.assumptions import assumed, bytes_per_token
from megatron_sbp.planning.units import plan_index, saved_checkpoints, synthesizers_of
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.tuning_start import start_folder


def plan_memory(recipe: Recipe, vocab: int) -> JsonObject:
    """Bytes on the fullest rank, with both optimizers; `trainings`: that of every arm and of `tune`, as it will run."""
    launch, result = recipe.launch, {}
    for name, distributed in (("plain", False), ("distributed_optimizer", True)):
        entry = cost.memory(recipe.model, recipe.training, launch, vocab, distributed)
        result[name] = {"parameters": entry.parameters, **_parts(entry)}
    chosen = "distributed_optimizer" if launch.distributed_optimizer else "plain"
    ranks = launch.nodes * launch.ranks_per_node
    return {
        "ranks": ranks,
        "tensor_parallel": launch.tensor_parallel,
        "pipeline_parallel": launch.pipeline_parallel,
        "context_parallel": launch.context_parallel,
        "data_parallel": ranks // (launch.tensor_parallel * launch.pipeline_parallel * launch.context_parallel),
        "chosen": chosen,
        "per_rank": result[chosen]["total"],
        "trainings": {
            stage: {"micro_batch_size": own.training.micro_batch_size, "sequence_length": own.model.sequence_length}
            | _parts(cost.memory(own.model, own.training, launch, vocab, launch.distributed_optimizer))
            for stage, own in trainings_of(recipe).items()
        },
        **result,
    }


def _parts(entry: cost.Memory) -> dict[str, int]:
    return {
        "weights": entry.weights,
        "gradients": entry.gradients,
        "optimizer": entry.optimizer,
        "activations": entry.activations,
        "total": entry.total,
    }


def trainings_of(recipe: Recipe) -> dict[str, Recipe]:
    """The training runs of a replicate by name of their stage; the sections `model` and `training` are their own."""
    found = {f"train-{arm}": recipe.for_arm(arm) for arm in recipe.arms}
    for name in recipe.tuned_synthesizers:
        own = recipe.for_synthesizer(name)
        batch, length = {"micro_batch_size": own.tuning.micro_batch_size}, own.tuning_sequence_length
        stage = "tune" if name == RELATED else f"tune.{name}"
        found[stage] = own.overridden("training", batch).overridden("model", {"sequence_length": length})
    return found


def plan_disk(recipe: Recipe, plan: JsonObject, vocab: int, count: int) -> dict[str, int]:
    """Bytes of every kind of file, largest state; `documents.oracle: null` counts as none."""
    real, oracle = plan["unique_tokens"]["real"], plan["unique_tokens"]["oracle"]
    per_document = real["tokens"] / max(1, real["documents"])
    held_out = recipe.documents.valid + recipe.documents.test
    everything = (oracle["documents"] or recipe.documents.train) + held_out
    token_size = 2 if vocab <= 65_500 else 4
    text = bytes_per_token(vocab) / assumed("text_compression")

    def dataset(documents: float, tokens: float, sequences: int = 1) -> float:
        # .bin: the tokens; .idx: a length (4) and a pointer (8) per sequence, an index (8) per document
        return tokens * token_size + documents * (12 * sequences + 8)

    oracle_documents = oracle["documents"] or recipe.documents.train
    oracle_tokens = oracle["tokens"] or real["tokens"]
    tokens = (
        dataset(real["documents"], real["tokens"])
        + dataset(oracle_documents, oracle_tokens)
        + dataset(held_out, held_out * per_document)
    )
    embedding = plan["embedding"]
    synthesizers = synthesizers_of(recipe, plan)
    pairs = synthetic = 0.0
    for name, entry in synthesizers.items():
        tuning, synthesis = entry["tuning"], entry["synthesis"]
        if tuning:  # two row numbers, a score, and two ids of about 32 characters; and the tokenized pairs
            pairs += tuning["pairs"] * 84 + dataset(tuning["pairs"], tuning["tokens"], 2)
        ids = assumed("bytes_per_token_id")
        kept_ids = 0.0 if recipe.for_synthesizer(name).filter.retokenize else ids
        synthetic += synthesis["planned_tokens"] * (text + ids) + synthesis["tokens"] * (text + kept_ids)
        synthetic += dataset(synthesis["generations"], synthesis["tokens"])
    models = len(plan["arms"]) + len(synthesizers)
    neighbors = (recipe.documents.train + recipe.documents.valid) * recipe.neighbors.k * 12
    checkpoint = cost.checkpoint_bytes(recipe.training, recipe.launch, count)
    saves = saved_checkpoints(recipe, plan)
    weight = 2 if recipe.training.precision == "bf16" else 4
    disk = {
        "documents": everything * per_document * text,
        "tokens": tokens,
        "embeddings": embedding["documents"] * embedding["dimensions"] * 2,
        "neighbors": neighbors,
        "pairs": pairs,
        # and the synthesizer's start, while it is tuned
        "checkpoints": checkpoint * saves + (count * weight if start_folder(recipe) else 0),
        "exports": models * count * weight * plan["replicates"],
        "synthetic": synthetic * plan["replicates"],
    }
    index = plan_index(recipe, plan)
    if index is not None:
        disk["corpus_index"] = index.bytes
    rounded = {name: round(size) for name, size in disk.items()}
    return {**rounded, "total": sum(rounded.values()), "one_checkpoint": checkpoint}
