#!/usr/bin/env python3
"""Near-duplicates among many texts, beside the MinHash and LSH of rensa and of datasketch, in one thread each.

    pip install rensa datasketch
    python benchmarks/near_duplicates.py [--texts 20000] [--rounds 3]

Texts are made up of words by Zipf's law, 100 of them on average; a tenth repeat an earlier text with one word in thirty
replaced. All have 128 hash functions in 32 bands, shingles of five words, a threshold of 0.7, and count a text as a
near-duplicate when it is one of an earlier text. CPU seconds, in turns; prints a Markdown table, and how far ours
agrees with each and with what was planted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ["NUMBA_NUM_THREADS"] = "1"
THRESHOLD, PLACES, BANDS, WORDS = 0.7, 128, 32, 5


def made_up(count: int, seed: int) -> tuple[list[str], set[int]]:
    """Texts, and which of them repeat an earlier one."""
    import numpy as np

    random = np.random.default_rng(seed)
    shares = 1 / np.arange(1, 20_001)
    vocabulary = np.array([f"w{number}" for number in range(20_000)])
    texts: list[list[str]] = []
    planted = set()
    for number in range(count):
        if number and random.random() < 0.1:
            words = list(texts[random.integers(number)])
            for place in random.integers(0, len(words), max(1, len(words) // 30)):
                words[place] = str(vocabulary[random.integers(20_000)])
            planted.add(number)
        else:
            length = int(np.clip(random.lognormal(4.5, 0.5), 20, 600))
            words = random.choice(vocabulary, length, p=shares / shares.sum()).tolist()
        texts.append(words)
    return [" ".join(words) for words in texts], planted


def ours(texts: list[str]) -> set[int]:
    from megatron_sbp.overlap.near_duplicates import near_duplicates, signatures

    return set(near_duplicates(signatures(texts, PLACES, WORDS), THRESHOLD).nonzero()[0].tolist())


def rensa(texts: list[str]) -> set[int]:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PLACES, num_bands=BANDS)
    kept: dict[int, RMinHash] = {}
    found: set[int] = set()
    for number, text in enumerate(texts):
        words = text.lower().split()
        one = RMinHash(num_perm=PLACES, seed=42)
        one.update([" ".join(words[begin : begin + WORDS]) for begin in range(max(1, len(words) - WORDS + 1))])
        if any(kept[other].jaccard(one) >= THRESHOLD for other in index.query(one)):
            found.add(number)
        kept[number] = one
        index.insert(number, one)
    return found


def datasketch(texts: list[str]) -> set[int]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PLACES, params=(BANDS, PLACES // BANDS))
    kept: dict[int, MinHash] = {}
    found: set[int] = set()
    for number, text in enumerate(texts):
        words = text.lower().split()
        shingles = (" ".join(words[begin : begin + WORDS]) for begin in range(max(1, len(words) - WORDS + 1)))
        one = MinHash(num_perm=PLACES, seed=42)
        one.update_batch([shingle.encode() for shingle in shingles])
        if any(kept[other].jaccard(one) >= THRESHOLD for other in index.query(one)):
            found.add(number)
        kept[number] = one
        index.insert(number, one)
    return found


SEARCHES: dict[str, Callable[[list[str]], set[int]]] = {"rensa": rensa, "datasketch": datasketch, "ours": ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for peer in ("rensa", "datasketch"):
        if importlib.util.find_spec(peer) is None:
            parser.exit(2, f"error: {peer} is not installed: pip install {peer}\n")
    texts, planted = made_up(options.texts, 1)
    ours(texts[:100])  # compiles
    found: dict[str, set[int]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in SEARCHES}
    for number in range(options.rounds):
        for name, search in SEARCHES.items():
            begin = time.process_time()
            found[name] = search(texts)
            seconds[name].append(time.process_time() - begin)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print(f"{len(texts):,} texts, {len(planted):,} of them planted near-duplicates; load {os.getloadavg()[0]:.2f}\n")
    print("| | CPU seconds | texts per CPU second | found | of the planted | as fast as rensa (lowest to highest) |")
    print("|---|---|---|---|---|---|")
    for name, taken in seconds.items():
        ratios = [theirs / mine for theirs, mine in zip(seconds["rensa"], taken, strict=True)]
        print(
            f"| {name} | {statistics.median(taken):.1f} | {len(texts) / statistics.median(taken):,.0f} "
            f"| {len(found[name]):,} | {len(found[name] & planted) / max(1, len(planted)):.1%} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    print()
    for peer in ("rensa", "datasketch"):
        both, one = found[peer] & found["ours"], found[peer] ^ found["ours"]
        print(f"Ours and {peer} both name {len(both):,}; {len(one):,} are named by one of them only.")


if __name__ == "__main__":
    main()
