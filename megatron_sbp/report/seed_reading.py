"""Whether the synthetic text is about its seed document, in words."""

from __future__ import annotations

from typing import Any

from megatron_sbp.report.numbers import signed


def seed_sentence(similarity: dict[str, Any]) -> str | None:
    """Whether the text is about its seed document, by the similarity to it; None where it was not measured."""
    to_seed, other, reads = (similarity.get(key) for key in ("to_seed", "random_pairs", "reads_seed"))
    if to_seed is None or other is None or reads is None:
        return None
    low, high = similarity["intervals"]["seed_gain"]
    gain = (
        f"{signed(similarity['seed_gain'], None, 3)}, 95 % interval {signed(low, None, 3)} to {signed(high, None, 3)}"
    )
    values = f"its mean cosine to it is {to_seed:.3f}, to another seed document {other:.3f} ({gain})"
    if reads:
        return f"The synthetic text is nearer to its own seed document than to another: {values}."
    return f"The synthetic text ignores its seed document: {values}."
