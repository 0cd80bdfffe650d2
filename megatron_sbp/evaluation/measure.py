"""The quality figures of one run: synthetic documents before and after the filters, and real ones, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.random_streams import Stream
from megatron_sbp.evaluation import quality
from megatron_sbp.evaluation.sampling import choose, rows_of
from megatron_sbp.overlap.novelty import Overlap
from megatron_sbp.recipe import Recipe
from megatron_sbp.tokenization.cutting import cut_tokens
from megatron_sbp.tokenization.indexed import IndexedTokens, open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer, load_tokenizer

# Streams of the seeded choices.
_GROUPS = {
    "synthetic": (Stream.QUALITY_SYNTHETIC, Stream.DUPLICATES_SYNTHETIC),
    "generations": (Stream.QUALITY_GENERATIONS, Stream.DUPLICATES_GENERATIONS),
    "real": (Stream.QUALITY_REAL, Stream.DUPLICATES_REAL),
}
"""Streams by which documents of a group are chosen, for everything and for near-duplicates."""


@dataclass(frozen=True)
class QualityFiles:
    """What is read; shards are in order."""

    tokenizer: Path
    """Folder."""
    documents: Mapping[str, Sequence[Path]]
    """NNNNN.jsonl.zst of `train` and `valid`."""
    tokens: Mapping[str, Path]
    """Prefixes of the IndexedDatasets of `train` and `valid`."""
    synthetic: Sequence[Path]
    """Synthetic documents that passed the filters."""
    generations: Sequence[Path]
    """All synthetic documents, before the filters."""
    pairs: Path | None
    """Parquet of the pairs tuned on; None for text that no tuned synthesizer wrote."""
    embeddings: Path
    """Folder with NNNNN.npy of `train`."""


def measure_quality(found: QualityFiles, recipe: Recipe) -> dict[str, Any]:
    """Measures what evaluation/quality.json holds.

    Real documents are cut to the length that a synthetic one can have, since long texts repeat more; what is left is
    compared at equal numbers of documents.

    Args:
        found: the files.
        recipe: its seed, `evaluation`, `filter`, `embedding`, shingle length and generation length are used.

    Returns:
        `groups`: figures of `synthetic` (kept by the filters), `generations` (before the filters) and `real` (documents
        of D; its figures against D are those of valid documents, which are not in D). `similarity`: mean cosines of
        synthetic documents with their seed document (`to_seed`) and with another one's (`random_pairs`), of the pairs
        tuned on and of random pairs of real documents; None where there are no seed documents or no pairs.
        `limits`: the settings behind the figures.
    """
    tokenizer = load_tokenizer(found.tokenizer)
    shards = {"synthetic": found.synthetic, "generations": found.generations}
    limit = recipe.max_new_tokens - 1  # without end-of-document
    real = _RealText(found.tokens["train"], found.documents["train"], tokenizer, limit)
    population = {group: _count_rows(files_) for group, files_ in shards.items()} | {"real": len(real.tokens)}
    compared = min([*population.values(), recipe.evaluation.duplicate_pairs])
    overlap = Overlap(recipe.pairs.shingle_tokens)
    groups, samples = {}, {}
    for group, count in population.items():
        say(f"quality: {group}, {count:,} documents")
        rows = choose(count, recipe.evaluation.quality_documents, recipe.seed, _GROUPS[group][0])
        several = choose(count, compared, recipe.seed, _GROUPS[group][1])
        if group == "real":
            sample = [{"text": text, "tokens": tokens} for text, tokens in real.read(rows)]
            texts: Iterable[str] = (text for text, _ in real.read(several))
        else:
            sample = [row for _, row in rows_of(shards[group], rows)]
            texts = (row["text"] for _, row in rows_of(shards[group], several))
        samples[group] = sample
        groups[group] = {"population": count, **_group(recipe, tokenizer, real.tokens, sample, texts, group, overlap)}
    valid = _RealText(found.tokens["valid"], found.documents["valid"], tokenizer, limit)
    held_out = choose(len(valid.tokens), recipe.evaluation.quality_documents, recipe.seed, Stream.QUALITY_VALID)
    for text, tokens in valid.read(held_out):
        overlap.add("real", tokens, text)
    for group, figures in overlap.measure(real.whole()).items():
        groups[group] |= figures
    groups["real"]["corpus_documents"] = len(held_out)
    return {
        "groups": groups,
        "similarity": _similarity(found, recipe, samples["synthetic"]),
        "limits": {
            "max_repetition": recipe.filter.max_repetition,
            "max_copying": recipe.filter.max_copying,
            "duplicate_threshold": recipe.filter.duplicate_threshold,
            "shingle_tokens": recipe.pairs.shingle_tokens,
            "max_tokens": limit,
        },
    }


class _RealText:
    """Documents of a split, cut to the length that a synthetic document can have."""

    def __init__(self, tokens: Path, shards: Sequence[Path], tokenizer: TextTokenizer, limit: int):
        self.tokens = open_indexed(tokens)
        self._shards, self._tokenizer, self._limit = shards, tokenizer, limit

    def read(self, rows: Iterable[int]) -> Iterator[tuple[str, np.ndarray]]:
        """Text and tokens (without end-of-document) of the wanted rows, cut."""
        for row, document in rows_of(self._shards, rows):
            tokens = self.tokens[row][:-1]
            text = document["text"]
            if len(tokens) > self._limit:
                tokens = cut_tokens(tokens, self._limit, self._tokenizer.starts_character)
                text = self._tokenizer.decode(tokens)
            yield text, tokens

    def whole(self) -> Iterator[tuple[np.ndarray, str]]:
        """Tokens and text of all documents, uncut."""
        with Progress("quality: reading D", len(self.tokens), "documents") as progress:
            row = 0
            for shard in self._shards:
                for document in files.read_jsonl_zst(shard):
                    yield self.tokens[row][:-1], document["text"]
                    row += 1
                    progress.advance()


def _group(
    recipe: Recipe,
    tokenizer: TextTokenizer,
    real: IndexedTokens,
    sample: list[dict[str, Any]],
    texts: Iterable[str],
    group: str,
    overlap: Overlap,
) -> dict[str, Any]:
    words = [row["text"] for row in sample]
    copying = None  # of documents without a seed document
    if group == "real":
        encoded = [row["tokens"] for row in sample]
    else:
        encoded = [np.array(ids, np.int64) for ids in tokenizer.encode_batch(words)]
        if all(row["seed_row"] is not None for row in sample):
            seeds = [real[row["seed_row"]][:-1] for row in sample]
            copying = quality.copying(encoded, seeds, recipe.pairs.shingle_tokens, recipe.filter.max_copying)
        for text, tokens in zip(words, encoded, strict=True):
            overlap.add(group, tokens, text)
    finished = None if group == "real" or not sample else sum(row["finished"] for row in sample) / len(sample)
    return {
        "documents": len(sample),
        **quality.repetition(words, recipe.filter.max_repetition),
        **quality.duplicates(texts, recipe.evaluation.duplicate_pairs, recipe.filter.duplicate_threshold, recipe.seed),
        "copying": copying,
        "corpus_copying": None,
        "novel_ngrams": None,
        "finished": finished,
        "tokens": quality.lengths([len(tokens) for tokens in encoded]),
    }


def _similarity(found: QualityFiles, recipe: Recipe, sample: list[dict[str, Any]]) -> dict[str, Any]:
    shards = sorted(found.embeddings.glob("[0-9]*.npy"))
    paired = np.empty((0, 2), np.int64)
    if found.pairs is not None:
        paired = _sampled_pairs(found.pairs, recipe.evaluation.quality_documents, recipe.seed)
    total = sum(len(np.load(shard, mmap_mode="r")) for shard in shards)
    random = np.random.default_rng([recipe.seed, Stream.QUALITY_RANDOM_PAIRS])
    count = recipe.evaluation.quality_documents
    first = random.integers(0, total, count)
    second = (first + random.integers(1, total, count)) % total if total > 1 else first
    result: dict[str, Any] = {
        "documents": len(sample),
        "to_seed": None,
        "random_pairs": None,
        "real_pairs": quality.mean_cosine(_vectors(shards, paired[:, 0]), _vectors(shards, paired[:, 1])),
        "real_random_pairs": quality.mean_cosine(_vectors(shards, first), _vectors(shards, second))
        if total > 1
        else None,
    }
    if not sample or any(row["seed_row"] is None for row in sample):
        return result  # nothing was written, or without seed documents
    from megatron_sbp.pairing.embedding import Embedder

    with Progress("quality: embedding synthetic documents", len(sample), "documents") as progress:
        embedder = Embedder(recipe.embedding, recipe.folder, recipe.launch.device)
        written = embedder.encode([row["text"] for row in sample], progress)
    seed_rows = np.array([row["seed_row"] for row in sample])
    seeds = _vectors(shards, seed_rows)
    others = quality.other_seeds(seed_rows, recipe.seed)
    result["to_seed"] = quality.mean_cosine(written, seeds)
    result["random_pairs"] = quality.mean_cosine(written[others >= 0], seeds[others[others >= 0]])
    return result


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


def _sampled_pairs(pairs: Path, wanted: int, seed: int) -> np.ndarray:
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


def _count_rows(shards: Sequence[Path]) -> int:
    count = 0
    for shard in shards:
        with files.open_lines(shard) as lines:
            while block := lines.read(1 << 20):
                count += block.count(b"\n")
    return count
