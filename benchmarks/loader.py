#!/usr/bin/env python3
"""Our training datasets beside Megatron's GPTDataset on the same files: reading, starting, changing epochs, packing.

    python benchmarks/loader.py read                    # samples a second, at --lengths 512 4096
    python benchmarks/loader.py start --documents 10000000 --epochs 20
    python benchmarks/loader.py pack --pairs 10000000

`read` times both in one process, in turn, and prints the median of --rounds and of their ratios. `start` starts every
case in a process of its own, for its peak memory; its tokens are zeros that take no disk. `pack` takes its lengths from
documents of the quick start. Prints tables in Markdown; say with them which machine it was, and what else ran there.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.tokenization.indexed import data_file, index_file, write_indexed
from megatron_sbp.training.data.index_cache import IndexCache
from megatron_sbp.training.data.packing import pack, shared_packing

END, PADDING, SEPARATOR = 0, 1, 2
CORPUS = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "foldoc.jsonl.zst"
Row = dict[str, Any]
Work = Callable[[], tuple[dict[str, float], Any]]
"""Gives seconds (or other figures) by name, and what has to stay alive while the memory is measured."""


def quiet() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def document_lengths(count: int, mean: float, seed: int) -> np.ndarray:
    """Log-normal lengths of that mean, as web documents have them: int32 [count]."""
    lengths = np.random.default_rng(seed).lognormal(np.log(mean) - 0.5, 1.0, count)
    return np.clip(lengths, 8, 100_000).astype(np.int32)


def config(length: int, cache: Path | None) -> Any:
    from megatron.core.datasets.gpt_dataset import GPTDatasetConfig

    return GPTDatasetConfig(
        random_seed=1,
        sequence_length=length,
        blend_per_split=[None, None, None],
        path_to_cache=str(cache) if cache else None,
        tokenizer=SimpleNamespace(vocab_size=50_000, eod=END, pad=PADDING, unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
        mid_level_dataset_surplus=0.0,
    )


# -- reading -----------------------------------------------------------------------------------------------------------


def write_random(prefix: Path, lengths: np.ndarray, sequences: int) -> None:
    random = np.random.default_rng(2)
    with write_indexed(prefix, np.uint16) as writer:
        for part in np.array_split(lengths, max(1, len(lengths) // 100_000)):
            part = part[: len(part) // sequences * sequences]
            tokens = random.integers(3, 50_000, int(part.sum()), dtype=np.uint16)
            writer.add(tokens, part, sequences)


def megatron_dataset(prefix: Path, samples: int, length: int, folder: Path) -> Any:
    from megatron.core.datasets.gpt_dataset import GPTDataset
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    indexed = IndexedDataset(str(prefix))
    documents = np.arange(len(indexed), dtype=np.int32)
    return GPTDataset(indexed, str(prefix), documents, samples, Split.train, config(length, folder / "megatron"))


def our_dataset(prefix: Path, samples: int, length: int, cache: IndexCache | None, once: bool = False) -> Any:
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    from megatron_sbp.training.data.document_dataset import DocumentDataset

    indexed = IndexedDataset(str(prefix))
    return DocumentDataset(indexed, str(prefix), samples, Split.train, config(length, None), once=once, cache=cache)


def pair_dataset(prefix: Path, length: int, cache: IndexCache) -> Any:
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    from megatron_sbp.training.data.pair_dataset import PairDataset

    indexed = IndexedDataset(str(prefix))
    return PairDataset(
        indexed, str(prefix), None, Split.train, config(length, None), separator=SEPARATOR, padding=PADDING, cache=cache
    )


def rate(dataset: Any, count: int) -> float:
    """Samples a second."""
    started = time.perf_counter()
    for index in range(count):
        dataset[index]
    return count / (time.perf_counter() - started)


def read(options: argparse.Namespace, folder: Path) -> list[Row]:
    from megatron.core.datasets.blended_dataset import BlendedDataset

    from megatron_sbp.training.data.blended_dataset import Blend

    real, synthetic, pairs = folder / "real", folder / "synthetic", folder / "pairs"
    write_random(real, document_lengths(options.documents, 800, 1), 1)
    write_random(synthetic, document_lengths(options.documents // 2, 800, 2), 1)
    write_random(pairs, np.minimum(document_lengths(2 * options.documents, 150, 3), 240), 2)
    rows = []
    for length in options.lengths:
        cache = IndexCache(folder / f"cache-{length}")
        whole = our_dataset(synthetic, 1, length, cache).epochs.samples_of_one_epoch()
        shares = [3 * whole, whole]  # the real documents are repeated, the synthetic ones used once
        blends = {
            "ours": Blend(
                [our_dataset(real, shares[0], length, cache), our_dataset(synthetic, shares[1], length, cache, True)],
                shares,
                config(length, None),
                cache,
            ),
            "Megatron's": BlendedDataset(
                [megatron_dataset(p, n, length, folder) for p, n in zip((real, synthetic), shares, strict=True)],
                shares,
                None,
                config(length, None),
            ),
        }
        packed = pair_dataset(pairs, length, cache)
        packs = {"ours": packed, "Megatron's": megatron_dataset(pairs, len(packed), length, folder)}
        for name, peers in (("documents, a repeated and a used-once source", blends), ("packed pairs", packs)):
            count = min(options.samples, *map(len, peers.values()))
            rows.append({"dataset": name, "tokens": length, **compare(peers, count, options.rounds)})
            show(rows[-1:], header=len(rows) == 1)
    return rows


def compare(peers: dict[str, Any], count: int, rounds: int) -> Row:
    """Median samples a second of both, and the median of the ratios of rounds, in which they take turns."""
    for dataset in peers.values():
        rate(dataset, min(count, 1000))
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(rounds):
        names = list(peers) if turn % 2 == 0 else list(peers)[::-1]
        for name in names:
            rates[name].append(rate(peers[name], count))
    ours, theirs = rates["ours"], rates["Megatron's"]
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return {
        "ours, samples/s": f"{statistics.median(ours):,.0f}",
        "GPTDataset, samples/s": f"{statistics.median(theirs):,.0f}",
        "ratio": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    }


# -- starting and changing epochs --------------------------------------------------------------------------------------


def write_hollow(prefix: Path, lengths: np.ndarray) -> None:
    """A dataset of zeros whose tokens take no room on disk."""
    index_file(prefix).parent.mkdir(parents=True, exist_ok=True)
    with write_indexed(prefix, np.uint16) as writer:
        writer._lengths.append(lengths)
        writer._count += len(lengths)
        writer._sequences.append(np.ones(len(lengths), np.int64))
    with open(data_file(prefix), "rb+") as file:
        file.truncate(2 * int(lengths.sum(dtype=np.int64)))


def start_megatron(prefix: Path, samples: int, length: int, folder: Path) -> Work:
    def work() -> tuple[dict[str, float], Any]:
        started = time.perf_counter()
        dataset = megatron_dataset(prefix, samples, length, folder)
        dataset[0]
        return {"start": time.perf_counter() - started}, dataset

    return work


def start_ours(prefix: Path, samples: int, length: int, folder: Path) -> Work:
    def work() -> tuple[dict[str, float], Any]:
        started = time.perf_counter()
        dataset = our_dataset(prefix, samples, length, IndexCache(folder / "ours"))
        dataset[0]
        return {"start": time.perf_counter() - started}, dataset

    return work


def change_epoch(prefix: Path, samples: int, length: int, folder: Path) -> Work:
    """First sample of epochs 1 to 4 after the last of the one before; the next epoch is being made meanwhile."""

    def work() -> tuple[dict[str, float], Any]:
        dataset = our_dataset(prefix, samples, length, IndexCache(folder / "ours"))
        unprepared: list[float] = []
        prepared: list[float] = []
        for epoch in range(1, min(5, dataset.epochs.epoch_of(samples))):
            first = dataset.epochs.first_sample(epoch)
            dataset[first - 2]
            # As in a training run, where an epoch takes longer than making the next; small ones are not kept on disk.
            if epoch % 2 == 0 and dataset._cache is not None:
                while not dataset._cache.path(*dataset._request(epoch)[:2]).exists():
                    time.sleep(0.1)
            started = time.perf_counter()
            dataset[first]
            (prepared if epoch % 2 == 0 else unprepared).append(time.perf_counter() - started)
        return {"made when needed": statistics.median(unprepared), "made ahead": statistics.median(prepared)}, dataset

    return work


def together(ranks: int, work: Work) -> tuple[dict[str, float], dict[str, float]]:
    """Runs `work` in that many forked processes at once.

    Returns:
        The slowest's seconds; in MB above what each began with: the peak of one, mapped files included, and what all
        of them keep for themselves.
    """
    pipes = []
    for _ in range(ranks):
        mine, theirs = multiprocessing.get_context("fork").Pipe()
        multiprocessing.get_context("fork").Process(target=measured, args=(work, theirs)).start()
        theirs.close()  # a process that dies must not be waited for
        pipes.append(mine)
    results = [pipe.recv() for pipe in pipes]
    figures = {name: max(seconds[name] for seconds, _, _ in results) for name in results[0][0]}
    return figures, {"peak": max(peak for _, peak, _ in results), "kept": sum(kept for _, _, kept in results)}


def measured(work: Work, pipe: Any) -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak
    before = memory()
    figures, alive = work()
    after = memory()
    pipe.send((figures, after["VmHWM"] - before["VmRSS"], after["RssAnon"] - before["RssAnon"]))
    del alive
    os._exit(0)  # without waiting for an epoch that is being made ahead


def memory() -> dict[str, float]:
    """MB of this process: VmHWM (peak), VmRSS (mapped files included), RssAnon (its own)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    words = dict(line.split(":", 1) for line in lines)
    return {name: int(words[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS", "RssAnon")}


def start(options: argparse.Namespace, folder: Path) -> list[Row]:
    import megatron.core.datasets.gpt_dataset  # noqa: F401 - not part of either's start-up
    import megatron.core.datasets.helpers_cpp  # noqa: F401

    from megatron_sbp.training.data.epochs import StrictEpochs

    length, prefix = options.lengths[-1], folder / "hollow"
    lengths = document_lengths(options.documents, 800, 1)
    write_hollow(prefix, lengths)
    StrictEpochs(lengths[:100], length, 1).build(0)  # compiles what has to be compiled
    samples = int(lengths.sum(dtype=np.int64)) * options.epochs // length - 1
    print(
        f"{options.documents:,} documents, {lengths.mean(dtype=float):.0f} tokens each, {options.epochs} epochs of "
        f"sequences of {length}: {samples:,} samples\n"
    )
    cases = {
        "GPTDataset, first start": start_megatron(prefix, samples, length, folder),
        "GPTDataset, from its cache": start_megatron(prefix, samples, length, folder),
        "ours, first start": start_ours(prefix, samples, length, folder),
        "ours, from the cache": start_ours(prefix, samples, length, folder),
        "ours, change of epoch": change_epoch(prefix, samples, length, folder),
        "ours, 8 ranks at once, first start": start_ours(prefix, samples, length, folder),
    }
    rows = []
    for name, work in cases.items():
        if options.ours_only and name.startswith("GPTDataset"):
            continue
        if "8 ranks" in name:
            shutil.rmtree(folder / "ours", ignore_errors=True)
        figures, taken = together(8 if "8 ranks" in name else 1, work)
        disk = sum(f.stat().st_size for kind in ("megatron", "ours") if (kind == "ours") == name.startswith("ours")
                   for f in (folder / kind).glob("*"))  # fmt: skip
        rows.append(
            {
                "case": name,
                "seconds": ", ".join(f"{key} {value:.2f}" for key, value in figures.items()),
                "peak of a process, MB": f"{taken['peak']:,.0f}",
                "kept, not shared, MB": f"{taken['kept']:,.0f}",
                "on disk, MB": f"{disk / 1e6:,.0f}",
            }
        )
        show(rows[-1:], header=len(rows) == 1)
    return rows


# -- packing -----------------------------------------------------------------------------------------------------------


def corpus_lengths() -> np.ndarray:
    """Tokens of the quick start's documents, at four bytes each."""
    return np.array([len(row["text"].encode()) // 4 + 1 for row in files.read_jsonl_zst(CORPUS)], np.int32)


def bound(lengths: np.ndarray, length: int) -> float:
    """No packing is fuller: no two pairs of more than half a sequence go together."""
    tokens = int(lengths.sum(dtype=np.int64))
    return tokens / (max(-(-tokens // length), int((2 * lengths > length).sum())) * length)


def packing(options: argparse.Namespace, folder: Path) -> list[Row]:
    random = np.random.default_rng(0)
    corpora = {"quick start": corpus_lengths(), "web (log-normal, 800)": document_lengths(200_000, 800, 1)}
    rows: list[Row] = []
    pack(np.array([1, 2]), 8, 1)  # compiles what has to be compiled
    for name, own in corpora.items():
        for length in options.lengths:
            half = length // 2 - 1
            seeds, targets = (np.minimum(own[random.integers(0, len(own), options.pairs)], half) for _ in range(2))
            lengths = (seeds + targets + 1).astype(np.int32)
            cache = IndexCache(folder / f"{len(rows)}")

            def work(
                lengths: np.ndarray = lengths, length: int = length, cache: IndexCache = cache
            ) -> tuple[dict[str, float], Any]:
                started = time.perf_counter()
                packed = shared_packing(lengths, length, 1, "pairs", cache)
                made = time.perf_counter()
                shared_packing(lengths, length, 1, "pairs", cache)
                mapped = time.perf_counter() - made
                return {"fill": packed.fill, "sequences": len(packed), "made": made - started, "mapped": mapped}, packed

            figures, taken = together(1, work)
            rows.append(
                {
                    "lengths": name,
                    "tokens": length,
                    "pairs": f"{options.pairs:,}",
                    "sequences": f"{figures['sequences']:,.0f}",
                    "full": f"{figures['fill']:.2%}",
                    "any packing": f"{bound(lengths, length):.2%}",
                    "packed, s": f"{figures['made']:.1f}",
                    "mapped by another, s": f"{figures['mapped']:.2f}",
                    "peak, MB": f"{taken['peak']:,.0f}",
                    "file, MB": f"{sum(f.stat().st_size for f in cache.folder.glob('*.index')) / 1e6:,.0f}",
                }
            )
            show(rows[-1:], header=len(rows) == 1)
    return rows


def show(rows: list[Row], header: bool) -> None:
    if header:
        print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("read", "start", "pack"))
    parser.add_argument("--documents", type=int, help="read: 200,000; start: 10,000,000")
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 4096], help="tokens of a sequence")
    parser.add_argument("--samples", type=int, default=10_000, help="read in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ours-only", action="store_true", help="start: leaves out GPTDataset")
    parser.add_argument("--folder", type=Path, help="for temporary files")
    options = parser.parse_args()
    options.documents = options.documents or (10_000_000 if options.what == "start" else 200_000)
    quiet()
    import torch

    torch.set_num_threads(1)  # as in a loader's worker
    print(f"{len(os.sched_getaffinity(0))} CPUs, torch {torch.__version__}, NumPy {np.__version__}\n", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        {"read": read, "start": start, "pack": packing}[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
