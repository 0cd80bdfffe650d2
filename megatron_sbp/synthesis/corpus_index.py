"""Builds the index of D's shingles part by part, and opens it for the filters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.overlap.corpus_index import CorpusIndex, part_files, plan_index, write_part
from megatron_sbp.overlap.shared_shingles import TokenSpans
from megatron_sbp.planning.index_layout import PART_HASHES, IndexPlan
from megatron_sbp.tokenization.indexed import open_indexed, open_lengths


def plan_corpus_index(tokens: Path, shingle: int, gigabytes: float) -> IndexPlan:
    """Layout of the index of a dataset with one sequence per document, each ending with end-of-document.

    Args:
        tokens: prefix of the dataset.
        shingle: tokens in a shingle.
        gigabytes: GiB of the index.
    """
    return plan_index(open_lengths(tokens), shingle, int(gigabytes * (1 << 30)), PART_HASHES, closing=1)


def write_index_part(tokens: Path, shingle: int, plan: IndexPlan, part: int, folder: Path) -> list[Path]:
    """Writes one part of the index, from 0; returns its files."""
    indexed = open_indexed(tokens)
    documents = TokenSpans(indexed.tokens, indexed.starts, np.subtract(indexed.lengths, 1, dtype=np.int64))
    starts, remainders = list(part_files(folder / "starts", folder / "remainders", plan))[part]
    write_part(documents, shingle, plan, part, starts=starts, remainders=remainders)
    return [starts, remainders]


def close_index(shingle: int, plan: IndexPlan, folder: Path) -> JsonObject:
    """Writes FOLDER/index.json once all parts exist.

    Returns:
        Its contents: `plan`, `shingle_tokens`, `entries` (hashes in the index), `sampled` (share of all hashes), and
        `false_positives` (probability that a shingle that is not in D is found).
    """
    entries = sum(
        len(np.load(rest, mmap_mode="r")) for _, rest in part_files(folder / "starts", folder / "remainders", plan)
    )
    found = {
        "plan": asdict(plan),
        "shingle_tokens": shingle,
        "entries": entries,
        "sampled": plan.sampled,
        "false_positives": plan.false_positives(entries),
    }
    files.write_json(folder / "index.json", found)
    return found


def open_corpus_index(folder: Path) -> CorpusIndex:
    """Opens the index in a folder, memory-mapped."""
    found = files.read_json(folder / "index.json")
    plan = IndexPlan(**found["plan"])
    return CorpusIndex(plan, list(part_files(folder / "starts", folder / "remainders", plan)), found["shingle_tokens"])


def index_plan(folder: Path) -> IndexPlan:
    """Layout of the index in a folder."""
    return IndexPlan(**files.read_json(folder / "index.json")["plan"])
