"""`sbp pairs --explore`: which of the existing neighbors other thresholds would keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.planning.numbers import format_count
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
_SHOWN_STEP = 0.05


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


def format_exploration(found: JsonObject) -> str:
    """What `explore_run` returns, for a terminal."""
    part = f"{found['sampled']:,} of " if found["sampled"] < found["documents"] else ""
    chance = found["chance"]
    lines = [
        f"The neighbors of {part}{found['documents']:,} documents, {found['k']} each; nothing was written.",
        f"Two random documents have a similarity of {chance['mean']:.2f} (deviation {chance['deviation']:.2f}); "
        f"1 in 100 such pairs is above {chance['level']:.2f}.",
        "",
        f"pairs.alpha, with max_shared_shingles {found['max_shared_shingles']:g}:",
        "",
        *_by_alpha(found),
        "",
        "pairs by pairs.max_shared_shingles:",
        "",
        *_by_shingles(found),
        "",
        *_advice(found),
        "",
        *_examples(found["bands"]),
    ]
    return "\n".join(lines)


def _shown(found: JsonObject) -> list[JsonObject]:
    """Rows of the tables: every 0.05, the recipe's alpha, and the recommended one; none below which nothing is left."""
    special = {found["alpha"], found["advice"]["alpha"]}
    rows = []
    for row in found["alphas"]:
        alpha, pairs = row["alpha"], max(kept["pairs"] for kept in row["kept"].values())
        if alpha in special or (pairs and np.isclose(alpha / _SHOWN_STEP, round(alpha / _SHOWN_STEP))):
            rows.append(row)
    return rows


def _mark(found: JsonObject, alpha: float) -> str:
    marks = ["recipe"] if alpha == found["alpha"] else []
    marks += ["recommended"] if alpha == found["advice"]["alpha"] else []
    return "  <- " + ", ".join(marks) if marks else ""


def _by_alpha(found: JsonObject) -> list[str]:
    limit, scale = str(found["max_shared_shingles"]), found["documents"] / found["sampled"]
    lines = [
        "  alpha      pairs  documents with a pair  pairs per seed  near-duplicates  full lists  random pairs above"
    ]
    for row in _shown(found):
        kept = row["kept"][limit]
        with_pairs = kept["documents_with_pairs"]
        lines.append(
            f"  {row['alpha']:5.2f}  {format_count(round(kept['pairs'] * scale)):>9}"
            f"  {with_pairs / found['sampled']:21.1%}  {kept['pairs'] / max(1, with_pairs):14.1f}"
            f"  {row['near_duplicates']:15.1%}"
            f"  {row['documents_with_full_lists'] / found['sampled']:10.1%}  {row['random_pairs_above']:18.3%}"
            + _mark(found, row["alpha"])
        )
    return lines


def _by_shingles(found: JsonObject) -> list[str]:
    limits, scale = list(found["alphas"][0]["kept"]), found["documents"] / found["sampled"]
    lines = ["  alpha" + "".join(f"{float(limit):>9g}" for limit in limits)]
    for row in _shown(found):
        counts = [format_count(round(row["kept"][limit]["pairs"] * scale)) for limit in limits]
        lines.append(f"  {row['alpha']:5.2f}" + "".join(f"{count:>9}" for count in counts) + _mark(found, row["alpha"]))
    return lines


def _advice(found: JsonObject) -> list[str]:
    advice = found["advice"]
    if advice["rule"] == "none":
        return [
            "No alpha is recommended: at none above the similarity of random pairs has half of the documents a pair.",
            "The corpus has few related documents, or the embedder does not tell them apart: read the pairs below.",
        ]
    first = f"Recommended to try first: pairs.alpha={advice['alpha']:.2f}. "
    if advice["rule"] == "gap":
        why = "Similarities fall into two groups with few pairs between them; this is the middle of the gap."
    else:
        why = "It is the largest at which half of the documents have a pair."
    return [
        first + why,
        f"{advice['coverage']:.1%} of the documents then have one. The rule is ours, not the paper's: read the pairs "
        "of the bands around it.",
    ]


def _examples(bands: list[JsonObject]) -> list[str]:
    lines = []
    for band in bands:
        if not band["examples"]:
            continue
        lines += [f"similarity {band['from']:.2f} to {band['to']:.2f}: {band['pairs']:,} pairs of the sample"]
        for example in band["examples"]:
            lines.append(f"  {example['score']:.3f}, {example['shared_shingles']:.0%} of the shingles shared")
            for end in ("seed", "target"):
                text = " ".join(example[end]["text"].split())
                lines.append(f"    {end} {example[end]['row']}: {text}")
        lines.append("")
    return lines[:-1]
