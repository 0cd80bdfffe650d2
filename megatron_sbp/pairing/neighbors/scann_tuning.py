"""How far ScaNN looks: the cheapest search that finds enough of the exact neighbors of some documents."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.pairing.neighbors import exact
from megatron_sbp.pairing.neighbors.recall import recall
from megatron_sbp.pairing.neighbors.scann_plan import ScannPlan
from megatron_sbp.pairing.neighbors.vectors import Vectors

SAMPLE = 500
"""Documents whose exact neighbors are computed; others than those on which the recall is measured in the end."""

_FINEST, _STEP, _REORDERS = 64, 1.3, 4
"""The fewest leaves tried are 1/64 of all, each next number is 1.3 times as large; `reorder` is doubled three times."""
_RANDOM_ACCESS = 8
"""Reading a vector to score it exactly costs about as much as hashes of 32 times its dimensions, one after another."""


@dataclass(frozen=True)
class Tuned:
    """How far each query looks.

    Attributes:
        target: share of the neighbors that was requested.
        k: neighbors of a document.
        leaves_to_search: of the tree.
        reorder: candidates that are scored exactly.
        recall: share that was found on the sample; below the target where searching everything finds no more.
    """

    target: float
    k: int
    leaves_to_search: int
    reorder: int
    recall: float


def tune(
    search: Callable[[np.ndarray, np.ndarray, int, int], np.ndarray],
    vectors: Vectors,
    plan: ScannPlan,
    *,
    target: float,
    k: int,
    fixed_reorder: bool,
) -> Tuned:
    """Tries leaves and candidates on a sample and chooses the cheapest pair that reaches the target.

    Args:
        search: gives ids int64 [n, k] for queries, own rows, leaves to search and candidates to score exactly.
        vectors: the documents.
        plan: of the index; its `reorder` is the fewest candidates tried.
        target: share of the k nearest documents that must be found.
        k: neighbors of a document.
        fixed_reorder: whether the plan's `reorder` is the user's own.
    """
    random = np.random.default_rng([plan.seed, plan.documents, Stream.RECALL_TUNING])
    rows = np.sort(random.choice(plan.documents, min(SAMPLE, plan.documents), replace=False)).astype(np.int64)
    queries = vectors.take(rows)
    with Progress("neighbors: tuning ScaNN", plan.documents, "documents compared") as progress:
        wanted, _ = exact.nearest(queries, rows, vectors, k, device="cpu", advance=progress.advance)
    ladder = leaf_ladder(plan.leaves)
    found: dict[tuple[int, int], float] = {}

    def reached(leaves: int, reorder: int) -> float:
        if (leaves, reorder) not in found:
            found[leaves, reorder] = recall(search(queries, rows, leaves, reorder), wanted)
        return found[leaves, reorder]

    reorders = sorted({min(plan.reorder << doublings, plan.documents) for doublings in range(_REORDERS)})
    for reorder in reorders[:1] if fixed_reorder else reorders:
        # More leaves find more: the fewest that are enough.
        if bisect.bisect_left(ladder, target, key=partial(reached, reorder=reorder)) == len(ladder):
            reached(ladder[-1], reorder)
    good = [tried for tried, share in found.items() if share >= target]
    if good:
        leaves, reorder = min(good, key=lambda tried: (_cost(plan, *tried), tried))
    else:
        leaves, reorder = max(found, key=lambda tried: (found[tried], -_cost(plan, *tried)))
    chosen = Tuned(target, k, leaves, reorder, found[leaves, reorder])
    say(
        f"neighbors: {leaves:,} of {plan.leaves:,} leaves and {reorder:,} candidates scored exactly find "
        f"{chosen.recall:.1%} of the {k} nearest of {len(rows):,} documents"
        + ("" if good else f"; neighbors.recall_target {target:g} is out of reach")
    )
    return chosen


def leaf_ladder(leaves: int) -> list[int]:
    """Numbers of leaves to try, ascending; the last is all of them."""
    ladder: list[int] = []
    size = max(1.0, leaves / _FINEST)
    while size < leaves:
        if not ladder or round(size) > ladder[-1]:
            ladder.append(round(size))
        size *= _STEP
    return [*(number for number in ladder if number < leaves), leaves]


def write_tuned(tuned: Tuned, folder: Path) -> None:
    """Keeps it beside the index."""
    files.write_json(folder / _FILE, asdict(tuned))


def read_tuned(folder: Path, target: float, k: int) -> Tuned | None:
    """What was written for this target and k; None where there is none, or it is damaged."""
    try:
        tuned = Tuned(**files.read_json(folder / _FILE))
    except (OSError, InputError, TypeError):
        return None
    return tuned if (tuned.target, tuned.k) == (target, k) else None


_FILE = "tuned.json"


def _cost(plan: ScannPlan, leaves: int, reorder: int) -> float:
    """Bytes that a query reads: hashes of half a byte for two dimensions, and whole vectors."""
    hashes = plan.documents * leaves / plan.leaves * plan.dimensions / 4
    return hashes + _RANDOM_ACCESS * 4 * plan.dimensions * reorder
