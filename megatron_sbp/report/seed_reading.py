"""Whether the synthetic text is about its seed document, in words."""

from __future__ import annotations

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.report.numbers import fixed, signed

LITTLE = 0.05
"""A gain in cosine with its whole interval below this means that a text takes almost nothing from its seed."""


def ignores_seed(similarity: JsonObject) -> bool:
    """Whether text was shown to be no nearer to its seed document than to another one, or hardly nearer."""
    gain = (similarity.get("intervals") or {}).get("seed_gain") or (None, None)
    return not similarity.get("reads_seed") and gain[1] is not None and gain[1] < LITTLE


def seed_sentence(similarity: JsonObject) -> str | None:
    """Whether the text is about its seed document, by the similarity to it; None where it was not measured."""
    to_seed, other, reads = (similarity.get(key) for key in ("to_seed", "random_pairs", "reads_seed"))
    if to_seed is None or other is None or reads is None:
        return None
    low, high = similarity["intervals"]["seed_gain"]
    gain = (
        f"{signed(similarity['seed_gain'], None, 3)}, 95 % interval {signed(low, None, 3)} to {signed(high, None, 3)}"
    )
    values = f"its mean cosine to it is {fixed(to_seed, 3)}, to another seed document {fixed(other, 3)} ({gain})"
    if reads:
        return f"The synthetic text is nearer to its own seed document than to another: {values}."
    if ignores_seed(similarity):
        return f"The synthetic text ignores its seed document: {values}."
    return f"Too little synthetic text was compared to say whether it is about its seed document: {values}."
