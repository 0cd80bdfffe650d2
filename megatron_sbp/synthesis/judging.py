"""What the filters say of every raw generation by itself, shard by shard."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np

from megatron_sbp.base import arrays, files
from megatron_sbp.base.progress import Progress
from megatron_sbp.overlap.near_duplicates import band_keys, signatures
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.judged import PASSED, Judged
from megatron_sbp.synthesis.rules import RULES, first_rule
from megatron_sbp.synthesis.synthesizer import without_end
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer

_AT_ONCE = 256
"""Texts tokenized together; a tokenizer holds some hundred bytes per token of them."""


def judge_shard(
    generations: Path, target: Judged, *, tokenizer: Path, tokens: Path, rules: Filter, length: int
) -> list[Path]:
    """Writes the verdicts on the raw generations of one file, and what finding duplicates needs, in their order.

    Args:
        generations: raw generations, .jsonl.zst.
        target: files, each written atomically.
        tokenizer: its folder.
        tokens: prefix of the seed documents' IndexedDataset, one sequence per document.
        rules: the recipe's filter section.
        length: tokens in a shingle.

    Returns:
        The files written.
    """
    encoder, real = load_tokenizer(tokenizer), open_indexed(tokens)
    rows = list(files.read_jsonl_zst(generations))
    verdicts, counts, passed = [], [], []
    with Progress(f"judge {generations.name[:5]}", len(rows), "generations") as progress:
        for some in itertools.batched(rows, _AT_ONCE):
            for row, ids in zip(some, encoder.encode_batch([row["text"] for row in some]), strict=True):
                seed_row = row["seed_row"]  # null for documents written without a seed
                seed_tokens = np.empty(0, np.int64) if seed_row is None else without_end(real[seed_row], encoder)
                rule = first_rule(row, rules, np.array(ids, np.int64), seed_tokens, length)
                verdicts.append(RULES.index(rule) if rule else PASSED)
                counts.append(len(ids) + 1)
                if not rule:
                    passed.append(row["text"])
            progress.advance(len(some))
    made: dict[Path, np.ndarray] = {
        target.verdicts: np.array([verdicts, counts], np.int32).reshape(2, -1),
        target.digests: np.array([_digest(text) for text in passed], np.uint64),
    }
    if rules.duplicates == "near":
        signed = signatures(passed)
        made |= {target.signatures: signed, target.bands: band_keys(signed)}
    for path, array in made.items():
        arrays.save(path, array)
    return list(made)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")
