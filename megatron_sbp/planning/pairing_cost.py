"""What embedding the documents and searching their neighbors costs."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning.assumptions import EMBEDDERS, UNKNOWN_EMBEDDER
from megatron_sbp.planning.hardware import Hardware
from megatron_sbp.recipe import Recipe


def plan_embedding(recipe: Recipe, real: JsonObject, hardware: Hardware) -> JsonObject:
    """Tokens and FLOPs of embedding the splits among which pairs are searched, and test."""
    known, dimensions, _ = _embedder(recipe)
    documents = recipe.documents.train + recipe.documents.valid + recipe.documents.test
    tokens = round(documents * min(recipe.embedding.max_tokens, real["tokens"] / max(1, real["documents"])))
    flops = embedding_flops(recipe, tokens)
    return {
        "documents": documents,
        "dimensions": dimensions,
        "tokens": tokens,
        "flops": flops,
        "gpu_hours": hardware.hours(flops),
        "from": "estimated",
        "embedder": known or f"unknown here; counted like {UNKNOWN_EMBEDDER}",
    }


def embedding_flops(recipe: Recipe, tokens: int) -> int:
    """FLOPs of embedding so many tokens: 2 per weight and token; attention does not count."""
    return 2 * _embedder(recipe)[2] * tokens


def _embedder(recipe: Recipe) -> tuple[str | None, int, int]:
    """The known embedder that the recipe names, its dimensions, and its weights in matrix products."""
    name = recipe.embedding.model.lower().replace("_", "-")
    known = next((key for key in EMBEDDERS if key in name), None)
    return known, *EMBEDDERS[known or UNKNOWN_EMBEDDER]


def plan_neighbors(recipe: Recipe, dimensions: int, hardware: Hardware) -> JsonObject:
    """Exact search among N documents is N^2 inner products: 2 N^2 d FLOPs; train and valid are searched apart."""
    flops = 2 * dimensions * (recipe.documents.train**2 + recipe.documents.valid**2)
    return {
        "engine": recipe.neighbors.engine,
        "k": recipe.neighbors.k,
        "exact_flops": flops,
        "exact_gpu_hours": hardware.hours(2 * flops),  # TF32 has half the peak of bf16
    }
