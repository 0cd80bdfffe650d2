"""`sbp pairs --explore`: which of the existing neighbors other thresholds would keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.stages.run_folder import Run

if TYPE_CHECKING:
    from megatron_sbp.pairing.exploring import SampledNeighbors

DOCUMENTS = 10_000
"""Seed documents whose neighbors are looked at by default."""
EXAMPLES = 2
"""Pairs shown from each band of similarity by default: ten of each would fill a dozen screens."""

_SHARDS = 4
"""Files of neighbors that are read: D is shuffled, so that any part of it is a sample."""
_CHANCE_DOCUMENTS = 2_000
"""Documents whose similarities to each other are those of random pairs."""


def explore_run(run: Run, documents: int = DOCUMENTS, examples: int = EXAMPLES) -> JsonObject:
    """See `pairing.exploring.explore_pairs`. Reads only.

    Args:
        run: as a stage `pairs` sees it; its stages up to `neighbors` are finished.
        documents: seed documents to look at; all where there are fewer.
        examples: pairs to read from each band.

    Raises:
        InputError: D has a single document; the run's relation is near_duplicates.
    """
    from megatron_sbp.pairing.exploring import explore_pairs
    from megatron_sbp.pairing.field_rules import read_field_rules
    from megatron_sbp.pairing.mined_shards import spans_of
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    if run.recipe.pairs.relation == "near_duplicates":
        raise InputError(
            "is near_duplicates, which alpha does not select; explore with pairs.relation=similar", key="pairs.relation"
        )
    vectors = Vectors(run.embedding_shards("train"))
    random = np.random.default_rng([run.recipe.seed, Stream.EXPLORED_DOCUMENTS])
    drawn = vectors.take(np.sort(random.permutation(len(vectors))[:_CHANCE_DOCUMENTS]))
    chance = (drawn @ drawn.T)[np.triu_indices(len(drawn), 1)]
    if not chance.size:
        raise InputError(f"there is nothing to explore: D has {len(vectors)} documents", key="documents.train")
    return explore_pairs(
        _sample(run, vectors.starts, documents, random),
        chance,
        spans_of(run.tokens("real")),
        read_field_rules(run.recipe.pairs, run.document_shards("train"), len(vectors)),
        run.recipe.pairs,
        run_seed=run.recipe.seed,
        examples=examples,
        text_of=load_tokenizer(run.tokenizer).decode,
    )


def _sample(run: Run, starts: np.ndarray, documents: int, random: np.random.Generator) -> SampledNeighbors:
    """Neighbors of about as many documents from each of a few files."""
    from megatron_sbp.pairing.exploring import SampledNeighbors

    shards = run.neighbor_shards("train")
    chosen = np.sort(random.permutation(len(shards))[:_SHARDS])
    found, left = [], documents
    for place, shard in enumerate(chosen):
        ids, scores = read_neighbors(shards[shard])
        wanted = -(-left // (len(chosen) - place))
        rows = np.sort(random.permutation(len(ids))[:wanted])
        left -= len(rows)
        found.append((starts[int(shards[shard].stem)] + rows, ids[rows], scores[rows]))
    return SampledNeighbors(*map(np.concatenate, zip(*found, strict=True)))
