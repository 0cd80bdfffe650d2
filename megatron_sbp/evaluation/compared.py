"""The texts that a quality sheet compares, and their n-grams and shingles to look up in D; chosen by the seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.documents.ids import count_documents
from megatron_sbp.evaluation.real_text import RealText, real_sample
from megatron_sbp.evaluation.row_choice import choose
from megatron_sbp.evaluation.sheet import Sampled
from megatron_sbp.overlap.contamination import Item
from megatron_sbp.overlap.ngram_novelty import NgramNovelty
from megatron_sbp.overlap.novelty import Overlap
from megatron_sbp.pairing.document_rows import rows_of
from megatron_sbp.recipe import Recipe
from megatron_sbp.tokenization.tokenizer import TextTokenizer

GROUPS = {
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
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    """Hugging Face checkpoints of the arms under which perplexity is measured."""
    answers: Path | None = None
    """File in which a judge behind an endpoint keeps its answers; None keeps none."""
    items: Mapping[str, Sequence[Item]] | None = None
    """The evaluation's items by group, to be looked for in all text; None looks for none."""
    retokenized: Mapping[str, int] | None = None
    """What the filters counted: see `RetokenizedCounts`. None takes the sampled texts."""
    findings: Sequence[Path] | None = None
    """What `corpus_scan` has found in all parts of D (and, with items, of the synthetic text); None reads them here."""


@dataclass(frozen=True)
class Compared:
    """The texts of a sheet.

    Attributes:
        real: all of D, cut to the length that a synthetic document can have.
        population: documents of every group.
        samples: chosen texts of every group; the real ones are the seed documents of the synthetic ones, as long as
            they are (`real_sample`).
        held_out: chosen documents of the valid split, cut to the lengths of the synthetic ones.
    """

    real: RealText
    population: Mapping[str, int]
    samples: Mapping[str, list[Sampled]]
    held_out: Sequence[Sampled]

    def wanted(self) -> Iterator[JsonObject]:
        """What is looked for in D: rows of JSON, for `LookedFor`."""
        for group, texts in self.samples.items():
            for one in texts:
                overlap = None if group == "real" else one.tokens.tolist()
                yield {"group": group, "text": one.text, "own": one.own, "tokens": overlap, "novelty": True}
            for one in self.held_out if group == "real" else ():
                yield {"group": group, "text": one.text, "own": -1, "tokens": one.tokens.tolist(), "novelty": False}


@dataclass(frozen=True)
class LookedFor:
    """What is looked for in D; nothing found yet.

    Attributes:
        overlap: shingles and word 3-grams.
        novelty: word n-grams.
        digest: SHA-256 of the texts, hexadecimal.
    """

    overlap: Overlap
    novelty: NgramNovelty
    digest: str

    @staticmethod
    def of(rows: Iterable[JsonObject], shingle_tokens: int) -> LookedFor:
        """From the rows of `Compared.wanted`; the same rows in the same order take the same places in the tables."""
        overlap, novelty, digest = Overlap(shingle_tokens), NgramNovelty(), hashlib.sha256()
        digest.update(f"{shingle_tokens}".encode())
        for row in rows:
            digest.update(json.dumps(row, sort_keys=True).encode())
            if row["novelty"]:
                novelty.add(row["group"], row["text"], row["own"])
            if row["tokens"] is not None:
                overlap.add(row["group"], np.array(row["tokens"], np.int64), row["text"])
        return LookedFor(overlap, novelty, digest.hexdigest())


def compared_texts(found: QualityFiles, recipe: Recipe, tokenizer: TextTokenizer) -> Compared:
    """Chooses the texts; see `measure_quality`.

    Args:
        found: the files.
        recipe: its seed, `evaluation.quality_documents`, and generation length are used.
        tokenizer: of `found`.
    """
    shards = {"synthetic": found.synthetic, "generations": found.generations}
    limit = recipe.max_new_tokens - 1  # without end-of-document
    real = RealText(found.tokens["train"], found.documents["train"], tokenizer, limit)
    valid = RealText(found.tokens["valid"], found.documents["valid"], tokenizer, limit)
    population = {group: sum(map(count_documents, files_)) for group, files_ in shards.items()} | {
        "real": len(real.tokens)
    }
    samples: dict[str, list[Sampled]] = {}
    for group, count in population.items():
        rows = choose(count, recipe.evaluation.quality_documents, recipe.seed, GROUPS[group][0])
        if group == "real":
            samples[group] = real_sample(real, samples["synthetic"], rows)
        else:
            samples[group] = _written([row for _, row in rows_of(shards[group], rows)], tokenizer)
    wanted = choose(len(valid.tokens), recipe.evaluation.quality_documents, recipe.seed, Stream.QUALITY_VALID)
    held_out = list(valid.alike(wanted.tolist(), [len(one.tokens) for one in samples["synthetic"]]))
    return Compared(real, population, samples, held_out)


def _written(rows: list[JsonObject], tokenizer: TextTokenizer) -> list[Sampled]:
    """Texts with the tokens that the tokenizer gives for them, which those of real documents can be compared with."""
    encoded = tokenizer.encode_batch([row["text"] for row in rows])
    return [Sampled(row["text"], np.array(ids, np.int64), row) for row, ids in zip(rows, encoded, strict=True)]
