"""Similarity of synthetic texts to their seed documents, kept and raw, beside pairs of real documents: mean cosines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.progress import Progress
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.shard_names import numbered_shards
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.evaluation import quality
from megatron_sbp.evaluation.confidence import pair, ratio
from megatron_sbp.evaluation.real_text import with_seeds
from megatron_sbp.evaluation.row_choice import choose
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.recipe import Recipe

if TYPE_CHECKING:
    from megatron_sbp.pairing.embedding import Embedder

_GROUPS = ("synthetic", "generations")
_SEEDED = ("to_seed", "random_pairs", "seed_gain")
"""Figures of texts with a seed document."""


def similarity_figures(
    embeddings: Path, pairs: Path | None, samples: Mapping[str, Sequence[Sampled]], recipe: Recipe
) -> JsonObject:
    """Mean cosines, with 95 % intervals in `intervals`.

    Args:
        embeddings: folder with the vectors of D, NNNNN.npy, float16 [documents, dim], unit norm.
        pairs: parquet of the pairs tuned on, or None.
        samples: texts that were kept (`synthetic`) and raw ones (`generations`).
        recipe: its seed, `embedding`, device, and `evaluation.quality_documents` are used.

    Returns:
        Of the kept texts `to_seed` (to their seed document), `random_pairs` (to another text's seed document),
        `seed_gain` (the difference, paired), `reads_seed` (whether its interval is above zero), and `documents` (not
        counting empty ones); under `generations` the same figures of the raw texts. Of real documents `real_pairs` (the
        pairs tuned on) and `real_random_pairs`. None where there are no seed documents, or no pairs.
    """
    shards = numbered_shards(embeddings, ".npy")
    # A raw generation may be empty: it has no embedding, or one that says nothing.
    kept_texts, raw_texts = ([one for one in samples[group] if one.text.strip()] for group in _GROUPS)
    embedder: Embedder | None = None
    if with_seeds(kept_texts) or with_seeds(raw_texts):
        from megatron_sbp.pairing.embedding import Embedder

        embedder = Embedder(recipe.embedding, recipe.folder, recipe.launch.device)
    kept = _to_seeds(kept_texts, embedder, shards, recipe.seed, "synthetic documents")
    raw = _to_seeds(raw_texts, embedder, shards, recipe.seed, "raw generations")
    return {
        **_figures(len(kept_texts), {**kept, **_of_real_text(shards, pairs, recipe)}, recipe.seed),
        "generations": _figures(len(raw_texts), raw, recipe.seed),
    }


def _to_seeds(
    sample: Sequence[Sampled], embedder: Embedder | None, shards: list[Path], seed: int, what: str
) -> dict[str, np.ndarray]:
    """Cosines of texts with their seed document and with another one: float64 [n] each."""
    if embedder is None or not with_seeds(sample):  # nothing was written, or without seed documents
        return dict.fromkeys(_SEEDED, np.empty(0))
    with Progress(f"quality: embedding {what}", len(sample), "documents") as progress:
        written = embedder.encode([one.text for one in sample], progress)
    seed_rows = np.array([one.row["seed_row"] for one in sample])
    seeds = _vectors(shards, seed_rows)
    others = quality.other_seeds(seed_rows, seed)
    there = others >= 0
    to_seed = quality.cosines(written, seeds)
    to_others = quality.cosines(written[there], seeds[others[there]])
    return {"to_seed": to_seed, "random_pairs": to_others, "seed_gain": to_seed[there] - to_others}


def _of_real_text(shards: list[Path], pairs: Path | None, recipe: Recipe) -> dict[str, np.ndarray]:
    """Cosines of pairs of real documents: those tuned on, and random ones."""
    count = recipe.evaluation.quality_documents
    paired = np.empty((0, 2), np.int64)
    if pairs is not None:
        paired = sampled_pairs(pairs, count, recipe.seed)
    found = {"real_pairs": quality.cosines(_vectors(shards, paired[:, 0]), _vectors(shards, paired[:, 1]))}
    total = sum(len(np.load(shard, mmap_mode="r")) for shard in shards)
    if total <= 1:
        return {**found, "real_random_pairs": np.empty(0)}
    random = np.random.default_rng([recipe.seed, Stream.QUALITY_RANDOM_PAIRS])
    first = random.integers(0, total, count)
    second = (first + random.integers(1, total, count)) % total
    return {**found, "real_random_pairs": quality.cosines(_vectors(shards, first), _vectors(shards, second))}


def _figures(documents: int, measured: Mapping[str, np.ndarray], seed: int) -> JsonObject:
    estimates = {name: ratio(values, np.ones(len(values)), seed) for name, values in measured.items()}
    gain = estimates["seed_gain"]["low"]
    return {
        "documents": documents,
        **{name: found["value"] for name, found in estimates.items()},
        "reads_seed": None if gain is None else gain > 0,
        "intervals": {name: pair(found) for name, found in estimates.items()},
    }


def _vectors(shards: list[Path], rows: np.ndarray) -> np.ndarray:
    """Embeddings of rows counted over all shards: float32 [rows, dim]."""
    arrays = [np.load(shard, mmap_mode="r") for shard in shards]
    starts = np.cumsum([0, *(len(array) for array in arrays)])
    places = np.searchsorted(starts, rows, side="right") - 1
    if not len(rows):
        return np.empty((0, 1), np.float32)
    return np.stack([arrays[place][row - starts[place]] for place, row in zip(places, rows, strict=True)]).astype(
        np.float32
    )


def sampled_pairs(pairs: Path, wanted: int, seed: int) -> np.ndarray:
    """Some of the kept pairs, drawn at random: int64 [at most wanted, 2], rows of seed and target."""
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(pairs)
    rows = choose(file.metadata.num_rows, wanted, seed, Stream.QUALITY_PAIRS)
    parts, begin = [np.empty((0, 2), np.int64)], 0
    for batch in file.iter_batches(columns=["seed", "target"]):
        here = rows[(rows >= begin) & (rows < begin + len(batch))] - begin
        parts.append(np.stack([column.to_numpy()[here] for column in batch.columns], axis=1))
        begin += len(batch)
    return np.concatenate(parts)
