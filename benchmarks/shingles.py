#!/usr/bin/env python3
"""The rule that drops near-copies from the pairs, beside plain Python: how much two documents share, for many pairs.

    python benchmarks/shingles.py [--pairs 20000] [--rounds 5]

The documents are the quick start's, tokenized by a tokenizer trained on them; a document is paired with documents that
share words with it (the nearest by TF-IDF of words), as mined pairs do, and ordered by seed, as the stage `pairs` has
them. Plain Python keeps the shingles of the seed as a set of tuples while its pairs last, and makes a set of each
target's; `with all sets kept` holds the sets of all documents in memory instead, which no large corpus allows. All on
one thread; results are compared first. CPU seconds, in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "1"
CORPUS = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "foldoc.jsonl.zst"
Shingles = set[tuple[int, ...]]


def shingles(tokens: list[int], width: int) -> Shingles:
    """A document shorter than a shingle is one as a whole."""
    width = min(width, len(tokens))
    return {tuple(tokens[begin : begin + width]) for begin in range(len(tokens) - width + 1)} if tokens else set()


def fraction(first: Shingles, second: Shingles) -> float:
    smaller = min(len(first), len(second))
    return len(first & second) / smaller if smaller else 0.0


def plain(documents: list[list[int]], seeds: list[int], targets: list[int], width: int) -> list[float]:
    shares, seed, own = [], -1, set()
    for one, other in zip(seeds, targets, strict=True):
        if one != seed:
            seed, own = one, shingles(documents[one], width)
        shares.append(fraction(own, shingles(documents[other], width)))
    return shares


def plain_kept(documents: list[list[int]], seeds: list[int], targets: list[int], width: int) -> list[float]:
    sets = [shingles(document, width) for document in documents]
    return [fraction(sets[one], sets[other]) for one, other in zip(seeds, targets, strict=True)]


def nearest(texts: list[str], each: int) -> list[list[int]]:
    """Rows of the documents that share most with each, by the rarity of the words that both have."""
    import collections
    import math

    bags = [set(text.lower().split()) for text in texts]
    rows: dict[str, list[int]] = collections.defaultdict(list)
    for row, bag in enumerate(bags):
        for word in bag:
            rows[word].append(row)
    found = []
    for row, bag in enumerate(bags):
        scores: collections.Counter[int] = collections.Counter()
        for word in sorted(bag):
            if len(rows[word]) <= 50:
                for other in rows[word]:
                    scores[other] += math.log(len(texts) / len(rows[word]))  # type: ignore[assignment]
        del scores[row]
        best = sorted(scores, key=lambda other: (-scores[other], other))
        found.append(best[:each])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shingle", type=int, default=13, help="tokens (default: 13, as in the recipes)")
    options = parser.parse_args()
    import numpy as np

    from megatron_sbp.base import files
    from megatron_sbp.overlap.shared_shingles import TokenSpans, shared_fractions
    from megatron_sbp.tokenization.bpe import train_bpe

    texts = [row["text"] for row in files.read_jsonl_zst(CORPUS)]
    each = 10
    texts = texts[: max(20, -(-options.pairs // each))]
    tokenizer = train_bpe(texts, 2048, {"end_of_document": "<e>", "padding": "<p>", "separator": "<s>"})
    tokens, lengths = tokenizer.encode_flat(texts, None, np.uint16)
    starts = lengths.cumsum(dtype=np.int64) - lengths
    documents = TokenSpans(tokens, starts, lengths.astype(np.int64))
    pairs = [(seed, target) for seed, rows in enumerate(nearest(texts, each)) for target in rows][: options.pairs]
    seeds, targets = np.array(pairs, np.int64).T
    lists = [part.tolist() for part in np.split(tokens, starts[1:])]

    def ours() -> list[float]:
        return shared_fractions(documents, seeds, targets, options.shingle).tolist()

    ways: dict[str, Callable[[], list[float]]] = {
        "plain Python": lambda: plain(lists, seeds.tolist(), targets.tolist(), options.shingle),
        "plain Python with all sets kept": lambda: plain_kept(lists, seeds.tolist(), targets.tolist(), options.shingle),
        "ours": ours,
    }
    expected = ours()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name, way in ways.items():
            began = time.process_time()
            shares = way()
            seconds[name].append(time.process_time() - began)
            if shares != expected:
                raise SystemExit(f"{name} gives other results")
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    some = float(np.mean(np.array(expected) > 0))
    print(
        f"{len(pairs):,} pairs of {len(texts):,} documents of {lengths.mean():.0f} tokens on average; {some:.0%} share "
        f"a shingle of {options.shingle}; all results equal; medians of {options.rounds} turns; load "
        f"{os.getloadavg()[0]:.2f}\n"
    )
    print("| | CPU seconds | pairs per CPU second | ours is faster by (lowest to highest) |\n|---|---|---|---|")
    for name, taken in seconds.items():
        ratios = [theirs / max(1e-9, mine) for theirs, mine in zip(taken, seconds["ours"], strict=True)]
        print(
            f"| {name} | {statistics.median(taken):.3f} | {len(pairs) / max(1e-9, statistics.median(taken)):,.0f} "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) |"
        )


if __name__ == "__main__":
    main()
