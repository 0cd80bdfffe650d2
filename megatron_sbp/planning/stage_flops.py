"""FLOPs of every stage of a run that has a formula: as planned, and of what the run has really processed."""

from __future__ import annotations

from dataclasses import dataclass

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning import cost
from megatron_sbp.planning.pairing_cost import embedding_flops
from megatron_sbp.planning.units import compares, end_of, synthesizers_of
from megatron_sbp.recipe import Recipe


@dataclass(frozen=True)
class Processed:
    """What one replicate of a run has processed.

    Attributes:
        trained: sequences trained on, by arm.
        tuned: sequences tuned on, by synthesizer.
        written: generations and their tokens in all, by synthesizer.
    """

    trained: dict[str, int]
    tuned: dict[str, int]
    written: dict[str, tuple[int, int]]


def planned_flops(recipe: Recipe, plan: JsonObject) -> dict[str, int]:
    """FLOPs by name of the stage, of all replicates, as `sbp plan` estimates them; those of a tuning are the most.

    Args:
        recipe: the recipe.
        plan: what `make_plan` made of it.
    """
    found = shared_flops(recipe, plan)
    once = {f"train-{arm}": entry["flops"] for arm, entry in plan["arms"].items()}
    for name, entry in synthesizers_of(recipe, plan).items():
        if entry["tuning"]:
            once["tune" + end_of(name)] = entry["tuning"]["max_flops"]
        if entry["synthesis"]["flops"]:
            once["synthesize" + end_of(name)] = entry["synthesis"]["flops"]
        if compares(recipe, name):
            once["compare" + end_of(name)] = entry["synthesis"]["compare_flops"]
    for number in range(1, recipe.replicates + 1):
        found |= {_of_replicate(stage, number): flops for stage, flops in once.items()}
    return found


def shared_flops(recipe: Recipe, plan: JsonObject) -> dict[str, int]:
    """FLOPs of the stages that all replicates share: `embed`, and `neighbors` where the search is exact."""
    found = {"embed": plan["embedding"]["flops"]}
    if recipe.neighbors.engine == "exact":
        found["neighbors"] = plan["neighbors"]["exact_flops"]
    return found


def processed_flops(recipe: Recipe, plan: JsonObject, number: int, processed: Processed) -> dict[str, int]:
    """FLOPs by name of the stage, from what one replicate has processed, by the same formulas as the plan.

    Args:
        recipe: the recipe.
        plan: what `make_plan` made of it: the vocabulary, and the mean length of prompts.
        number: of the replicate, from 1.
        processed: what it processed; what is not in it is left out.
    """
    vocab, found = plan["model"]["padded_vocab_size"], {}
    for arm, samples in processed.trained.items():
        found[f"train-{arm}"] = cost.training_flops(recipe.model, vocab, samples)
    for name, samples in processed.tuned.items():
        length = recipe.for_synthesizer(name).tuning_sequence_length
        found["tune" + end_of(name)] = cost.training_flops(recipe.model, vocab, samples, length)
    planned = synthesizers_of(recipe, plan)
    for name, (generations, tokens) in processed.written.items():
        mean, own = tokens / max(1, generations), recipe.for_synthesizer(name)
        if recipe.synthesizers[name].method != "replacement":
            prompt = planned[name]["synthesis"]["prompt_tokens"]
            flops = cost.generation_flops(own.model, vocab, generations, prompt, mean)
            found["synthesize" + end_of(name)] = sum(flops)
        if compares(recipe, name):
            compared = round(generations * min(own.embedding.max_tokens, mean))
            found["compare" + end_of(name)] = embedding_flops(own, compared)
    return {_of_replicate(stage, number): flops for stage, flops in found.items()}


def evaluation_flops(recipe: Recipe, vocab: int, held_out: int, continuations: int) -> int:
    """FLOPs of reading an arm's test and valid sequences and the continuations: forward passes, a third of training.

    Not counted, since results do not say how long they are: the questions of closed-book recall, recall against tokens,
    the perplexity of the quality sheet's texts, judges, and embedding. So it is a lower bound.

    Args:
        recipe: the recipe.
        vocab: padded vocabulary.
        held_out: full sequences, of both splits and of all arms.
        continuations: read in all: questions of all arms, times four.
    """
    length = recipe.evaluation.choice_context + recipe.evaluation.choice_continuation
    read = cost.training_flops(recipe.model, vocab, held_out)
    return (read + cost.training_flops(recipe.model, vocab, continuations, length)) // 3


def scann_flops(audit: JsonObject) -> int | None:
    """FLOPs of a search with ScaNN, an estimate: 2 per dimension and vector that is compared.

    Those compared are all of them for brute force; else the centroids of all leaves, the vectors of the leaves that are
    searched (as if all leaves were of one size; their lookups of quantized parts count as products), and those that are
    compared again exactly. Every document of D is looked up once. Not counted are building the index, the valid split,
    and the sample on which recall is measured.

    Args:
        audit: of the neighbors; None is returned if it does not say enough.
    """
    documents, dimensions = audit.get("documents"), audit.get("dim")
    if documents is None or dimensions is None:
        return None
    if not audit.get("leaves"):
        compared = documents
    else:
        searched = min(1.0, audit["leaves_to_search"] / audit["leaves"])
        compared = audit["leaves"] + searched * documents + audit["reorder"]
    return round(2 * dimensions * compared * documents)


WITHOUT_MODEL = (
    "documents",
    "tokenizer",
    "tokenize",
    "pairs",
    "tokenize-pairs",
    "judge",
    "judge-pilot",
    "deduplicate",
    "filter",
    "tokenize-synthetic",
    "index-corpus",
    "scan-corpus",
    "task-items",
    "export-synthesizer",
    "export-arms",
)
"""Stages that run no model of their own: their FLOPs are 0."""


def _of_replicate(stage: str, number: int) -> str:
    return stage if number == 1 else f"{stage}.{number}"
