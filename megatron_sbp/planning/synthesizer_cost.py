"""What a synthesizer costs: its tuning on pairs, and writing the synthetic text."""

from __future__ import annotations

import math

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning import cost
from megatron_sbp.planning.assumptions import assumed
from megatron_sbp.planning.hardware import Hardware
from megatron_sbp.planning.pairing_cost import embedding_flops
from megatron_sbp.planning.units import has_pilot
from megatron_sbp.recipe import Recipe


def plan_tuning(recipe: Recipe, measured: JsonObject, real: JsonObject, vocab: int, hardware: Hardware) -> JsonObject:
    """Pairs are unknown before they are mined: at most every document with all its allowed targets."""
    length = recipe.tuning_sequence_length
    if "pairs" in measured:
        audit, source = measured["pairs"], "measured"
        pairs = audit["pairs"]
        tokens = audit["seed_tokens"] + audit["target_tokens"] + pairs
    else:
        rules, k = recipe.pairs, recipe.neighbors.k
        per_document = min(k, rules.max_targets_per_seed or k, rules.max_seeds_per_target or k)
        pairs, source = real["documents"] * per_document, "at most"
        mean = real["tokens"] / max(1, real["documents"])
        seed, target = min(mean, recipe.max_seed_tokens), min(mean, recipe.max_target_tokens)
        tokens = round(pairs * (seed + 1 + target))
    samples = -(-tokens // length)
    batch = recipe.tuning.global_batch_size
    steps = -(-int(recipe.tuning.max_epochs * samples) // batch)  # rounded up, as training/data/planned.py does
    flops = cost.training_flops(recipe.model, vocab, steps * batch, length)
    return {
        "pairs": pairs,
        "tokens": tokens,
        "max_steps": steps,
        "max_flops": flops,
        "max_gpu_hours": hardware.hours(flops),
        "from": source,
    }


def plan_synthesis(
    recipe: Recipe,
    *,
    measured: JsonObject,
    real: JsonObject,
    vocab: int,
    method: str,
    hardware: Hardware,
) -> JsonObject:
    """Generations that are planned, with the tokens and FLOPs of reading their prompts and writing them."""
    mean = real["tokens"] / max(1, real["documents"])
    new = recipe.synthesis.tokens_per_generation
    source = "recipe" if new else "estimated"
    if not new and "pairs" in measured:
        new, source = measured["pairs"]["mean_target_tokens"], "measured"
    new = new or (min(mean, recipe.max_target_tokens) if method == "tuned" else mean)
    passing = 1.0
    if has_pilot(recipe.synthesis, method) or recipe.synthesis.stop == "passed":
        passing = assumed("passing")
        if "pilot" in measured:
            new, source = measured["pilot"]["written_per_generation"], "measured"
            passing = measured["pilot"]["tokens_per_generation"] / new
    planned = round(recipe.synthesis.tokens * recipe.synthesis.margin / passing)
    generations = math.ceil(planned / new)  # as synthesis/generations.py: never none
    prompt = min(mean, recipe.max_seed_tokens) if method == "tuned" else 1
    reading, writing = cost.generation_flops(recipe.model, vocab, generations, prompt, new)
    if method == "replacement":
        reading = writing = 0
    return {
        "tokens": recipe.synthesis.tokens,
        "planned_tokens": planned,
        "tokens_per_generation": new,
        "prompt_tokens": prompt,
        "generations": generations,
        "generations_per_document": generations / max(1, real["documents"]),
        "kept_per_document": recipe.synthesis.tokens / new / max(1, real["documents"]),
        "flops": reading + writing,
        "gpu_hours": hardware.hours(reading) + hardware.hours(writing, writing=True),
        **_comparing(recipe, generations, new, hardware),
        "from": source,
    }


def _comparing(recipe: Recipe, generations: int, tokens: float, hardware: Hardware) -> dict[str, float]:
    """FLOPs of embedding all generations; 0 if they are not compared with their seed documents."""
    compared = 0 if recipe.filter.min_similarity is None else generations
    flops = embedding_flops(recipe, round(compared * min(recipe.embedding.max_tokens, tokens)))
    return {"compare_flops": flops, "compare_gpu_hours": hardware.hours(flops)}
