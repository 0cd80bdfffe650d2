#!/usr/bin/env python3
"""ScaNN, our exact search and faiss in one run on the same vectors: time to build, queries a second, recall.

The engines take turns, --repeats times; medians are printed, and ratios of CPU seconds, which other work on the machine
disturbs least. OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, and NUMBA_NUM_THREADS say how many threads they have.

    python benchmarks/neighbors.py --documents 100000 --dim 384 --k 10
    python benchmarks/neighbors.py --embeddings RUN/embeddings/train/*.npy --k 200

A sample of the vectors is searched among all (the work of the stage `neighbors`). Without --embeddings they are random
points around --documents / 80 random centers; real text is harder. faiss takes part where it can be imported. Prints a
table in Markdown; say with it which machine it was, and that nothing else ran there.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors.exact import nearest
from megatron_sbp.pairing.neighbors.recall import recall, sample_rows
from megatron_sbp.pairing.neighbors.scann_engine import ScannIndex, load_scann
from megatron_sbp.pairing.neighbors.scann_parts import ScannParts
from megatron_sbp.pairing.neighbors.scann_plan import plan
from megatron_sbp.pairing.neighbors.vectors import Vectors
from megatron_sbp.recipe import Neighbors

Search = Callable[[np.ndarray], np.ndarray]
"""Rows that ask, int64 [n], to ids of their neighbors, int64 [n, k], themselves left out."""


def random_vectors(documents: int, dim: int, folder: Path) -> list[Path]:
    """Unit vectors around random centers, in eight files, float16."""
    random = np.random.default_rng(0)
    centers = random.standard_normal((max(1, documents // 80), dim), np.float32)
    rows = centers[random.integers(0, len(centers), documents)]
    rows += 0.8 * random.standard_normal((documents, dim), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    paths = [folder / f"{number}.npy" for number in range(8)]
    for path, part in zip(paths, np.array_split(rows.astype(np.float16), 8), strict=True):
        np.save(path, part)
    return paths


def exact(vectors: Vectors, k: int, device: str) -> Search:
    return lambda rows: nearest(vectors.take(rows), rows, vectors, k, device=device)[0]


def ours(vectors: Vectors, settings: Neighbors) -> Search:
    index = ScannIndex(vectors, plan(len(vectors), vectors.dimensions, settings, 1), settings)
    return lambda rows: index.nearest(vectors.take(rows), rows, settings.k)[0]


def in_parts(vectors: Vectors, settings: Neighbors, parts: int, folder: Path) -> Search:
    """With an index for each part, loaded from disk for every search as a task of the stage does."""
    index = ScannParts(vectors, settings, parts, 1, folder)
    index.nearest(vectors.take(np.arange(2)), np.arange(2))
    return lambda rows: index.nearest(vectors.take(rows), rows)[0]


def scann_alone(vectors: Vectors, settings: Neighbors) -> Search:
    """ScaNN as its documentation has it: its own training, without our scores."""
    scann, numbers = load_scann(), plan(len(vectors), vectors.dimensions, settings, 1)
    builder = scann.builder(vectors.take(np.arange(len(vectors))), settings.k + 1, "dot_product")
    if numbers.leaves:
        builder = builder.tree(numbers.leaves, numbers.leaves_to_search, training_sample_size=250_000)
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(numbers.reorder)
    else:
        builder = builder.score_brute_force()
    searcher = builder.set_n_training_threads(os.cpu_count()).build()
    return lambda rows: without_self(searcher.search_batched_parallel(vectors.take(rows))[0], rows)


def faiss_search(vectors: Vectors, settings: Neighbors, kind: str) -> Search:
    import faiss

    numbers = plan(len(vectors), vectors.dimensions, settings, 1)
    leaves, to_search = max(1, numbers.leaves), max(1, numbers.leaves_to_search)
    name = {"flat": "Flat", "IVF, 8 bits": f"IVF{leaves},SQ8", "HNSW": "HNSW32"}[kind]
    index = faiss.index_factory(vectors.dimensions, name, faiss.METRIC_INNER_PRODUCT)
    rows = vectors.take(np.arange(len(vectors)))
    index.train(rows)
    index.add(rows)

    def search(own: np.ndarray) -> np.ndarray:
        return without_self(index.search(vectors.take(own), settings.k + 1)[1], own)

    if kind == "flat":
        return search
    # As ours: the least that finds enough of the neighbors of a sample, unless leaves_to_search is given.
    sample = sample_rows(len(vectors), 500, seed=2)
    true = nearest(vectors.take(sample), sample, vectors, settings.k)[0]
    sizes = (max(1, round(1.3**step)) for step in range(8, 60))
    for size in [to_search] if settings.leaves_to_search and kind != "HNSW" else sizes:
        if kind == "HNSW":
            index.hnsw.efSearch = max(size, settings.k + 1)
        else:
            index.nprobe = min(size, leaves)
        if recall(search(sample), true) >= settings.recall_target or size >= len(vectors):
            break
    return search


def without_self(found: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Drops each row's own id, or the last entry where it is not among them."""
    found = found.astype(np.int64)
    own = found == rows[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(found), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--embeddings", nargs="+", type=Path, metavar="FILE.npy", help="real ones instead")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--leaves", type=int)
    parser.add_argument("--leaves-to-search", type=int)
    parser.add_argument("--recall-target", type=float, default=0.95, help="of ours and of faiss (default: 0.95)")
    parser.add_argument("--parts", type=int, default=4, help="of ScaNN's index, in one row of the table (default: 4)")
    parser.add_argument("--queries", type=int, default=10_000, help="rows that ask (default: 10000)")
    parser.add_argument("--repeats", type=int, default=3, help="times that every engine searches (default: 3)")
    parser.add_argument("--exact-only", action="store_true", help="our exact search and faiss's alone")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the exact search")
    options = parser.parse_args()
    settings = Neighbors(
        k=options.k,
        leaves=options.leaves,
        leaves_to_search=options.leaves_to_search,
        recall_target=options.recall_target,
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(options, settings, Path(folder))
        except InputError as error:
            parser.exit(2, f"error: {error}\n")


def measure(options: argparse.Namespace, settings: Neighbors, folder: Path) -> None:
    vectors = Vectors(options.embeddings or random_vectors(options.documents, options.dim, folder))
    rows = sample_rows(len(vectors), options.queries, seed=1)
    engines: dict[str, Callable[[], Search]] = {
        f"exact, {options.device}": lambda: exact(vectors, options.k, options.device)
    }
    if not options.exact_only:
        engines["ScaNN, our partitions and scores"] = lambda: ours(vectors, settings)
        if 1 < options.parts <= len(vectors.files):
            name = f"ScaNN in {options.parts} parts"
            engines[name] = lambda: in_parts(vectors, settings, options.parts, folder / "index")
        engines["ScaNN alone"] = lambda: scann_alone(vectors, settings)
    try:
        import faiss

        for kind in ("flat",) if options.exact_only else ("flat", "IVF, 8 bits", "HNSW"):
            engines[f"faiss {faiss.__version__} {kind}"] = functools.partial(faiss_search, vectors, settings, kind)
    except ImportError:
        print("faiss cannot be imported: left out (pip install faiss-cpu)", file=sys.stderr)
    numbers = plan(len(vectors), vectors.dimensions, settings, 1)
    print(
        f"{len(vectors):,} documents, {vectors.dimensions} dimensions, k = {options.k}, {len(rows):,} queries, "
        f"{len(os.sched_getaffinity(0))} CPUs; {numbers.leaves or 'no'} leaves in one index\n"
    )
    nearest(vectors.take(rows[:2]), rows[:2], vectors, options.k)  # compiles what has to be compiled
    searches, built = {}, {}
    for name, build in engines.items():
        started = time.perf_counter()
        searches[name] = build()
        built[name] = time.perf_counter() - started
    found: dict[str, np.ndarray] = {}
    wall: dict[str, list[float]] = {name: [] for name in searches}
    cpu: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(options.repeats):
        for name, search in searches.items():
            started, spent = time.perf_counter(), time.process_time()
            found[name] = search(rows)
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - spent)
    first = next(iter(searches))
    print(
        f"| engine | build, s | queries/s | queries/CPU second | times {first} (CPU) | recall@{options.k} |\n"
        "|---|---|---|---|---|---|"
    )
    for name in searches:
        share = recall(found[name], found[first])
        ratio = median(mine / other for mine, other in zip(cpu[first], cpu[name], strict=True))
        rates = f"{len(rows) / median(wall[name]):,.0f} | {len(rows) / median(cpu[name]):,.0f}"
        print(f"| {name} | {built[name]:.1f} | {rates} | {ratio:.2f} | {share:.4f} |")


if __name__ == "__main__":
    main()
