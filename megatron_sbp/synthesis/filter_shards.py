"""Filters raw generations: each by itself, shard by shard; then duplicates among what is left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.overlap.near_duplicates import near_duplicates, signatures
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.rules import RULES, first_rule, repeated
from megatron_sbp.synthesis.synthesizer import without_end
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer

KEPT = -1
"""Verdict of a generation that no rule dropped; others are indices into RULES."""

_SHOWN, _SHOWN_CHARACTERS = 3, 600


def judge_shard(generations: Path, target: Path, *, tokenizer: Path, tokens: Path, rules: Filter, length: int) -> None:
    """Writes the verdicts on the raw generations of one file, in their order.

    The .npz holds verdict int8 [generations], tokens int32 [generations] (of the text, end-of-document included), and
    of the kept ones digest uint64 [kept] (of the text, white space aside) and signature uint32 [kept, 128] (MinHash).

    Args:
        generations: raw generations, .jsonl.zst.
        target: .npz, written atomically.
        tokenizer: its folder.
        tokens: prefix of the seed documents' IndexedDataset, one sequence per document.
        rules: the recipe's filter section.
        length: tokens in a shingle.
    """
    encoder, real = load_tokenizer(tokenizer), open_indexed(tokens)
    rows = list(files.read_jsonl_zst(generations))
    verdicts, counts, kept = [], [], []
    with Progress(f"filter {generations.name[:5]}", len(rows), "generations") as progress:
        for row, ids in zip(rows, encoder.encode_batch([row["text"] for row in rows]), strict=True):
            seed_row = row["seed_row"]  # null for documents written without a seed
            seed_tokens = np.empty(0, np.int64) if seed_row is None else without_end(real[seed_row], encoder)
            rule = first_rule(row, rules, np.array(ids, np.int64), seed_tokens, length)
            verdicts.append(RULES.index(rule) if rule else KEPT)
            counts.append(len(ids) + 1)
            if not rule:
                kept.append(row["text"])
            progress.advance()
    with files.atomic_path(target) as partial:
        np.savez(
            partial,
            verdict=np.array(verdicts, np.int8),
            tokens=np.array(counts, np.int32),
            digest=np.array([_digest(text) for text in kept], np.uint64),
            signature=signatures(kept),
        )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class JudgedShard:
    """Files of one shard."""

    generations: Path
    """Raw generations, .jsonl.zst."""
    verdicts: Path
    """What `judge_shard` wrote."""
    output: Path
    """The generations that pass, .jsonl.zst."""


def write_kept(shards: Sequence[JudgedShard], audit_file: Path, rules: Filter) -> list[Path]:
    """Finds duplicates among the raw generations that passed, and writes the kept ones and the audit.

    Memory: about 1 kB per generation.

    Args:
        shards: in order; a duplicate is one of an earlier generation.
        audit_file: .json, see `_Audit.result`.
        rules: the recipe's filter section.

    Returns:
        The files written.
    """
    judged = [dict(np.load(shard.verdicts)) for shard in shards]
    verdict = np.concatenate([np.empty(0, np.int8), *(part["verdict"] for part in judged)])
    tokens = np.concatenate([np.empty(0, np.int32), *(part["tokens"] for part in judged)])
    passed = np.flatnonzero(verdict == KEPT)
    verdict[passed[_duplicates(judged, rules)]] = RULES.index("duplicate")
    audit = _Audit()
    begin = 0
    for shard, part in zip(shards, judged, strict=True):
        end = begin + len(part["verdict"])
        generations = files.read_jsonl_zst(shard.generations)
        files.write_jsonl_zst(shard.output, _kept(generations, verdict[begin:end], tokens[begin:end], audit))
        begin = end
    result = audit.result()
    files.write_json(audit_file, result)
    dropped = ", ".join(f"{rule.replace('_', ' ')} {count:,}" for rule, count in result["dropped"].items() if count)
    say(
        f"filter: {result['kept']:,} of {result['generations']:,} generations kept, {result['tokens']:,} tokens, "
        f"{result['tokens_per_generation']:.1f} per generation; dropped: {dropped or 'none'}"
    )
    return [*(shard.output for shard in shards), audit_file]


def _duplicates(judged: list[dict[str, np.ndarray]], rules: Filter) -> np.ndarray:
    """Which of the raw generations that passed repeat an earlier one: bool [passed]."""
    digests = np.concatenate([np.empty(0, np.uint64), *(part["digest"] for part in judged)])
    again = repeated(digests) if rules.duplicates != "keep" else np.zeros(len(digests), bool)
    if rules.duplicates == "near" and len(digests):
        again |= near_duplicates(np.concatenate([part["signature"] for part in judged]), rules.duplicate_threshold)
    return again


def _kept(
    generations: Iterator[dict[str, Any]], verdicts: np.ndarray, tokens: np.ndarray, audit: _Audit
) -> Iterator[dict[str, Any]]:
    for row, verdict, count in zip(generations, verdicts.tolist(), tokens.tolist(), strict=True):
        audit.add(row, verdict, count)
        if verdict == KEPT:
            yield {**row, "tokens": count}


class _Audit:
    """Counts what happened to the raw generations."""

    def __init__(self):
        self.generations = self.generated_tokens = self.finished = self.kept = self.tokens = 0
        self.dropped = dict.fromkeys(RULES, 0)
        self.examples: dict[str, list[str]] = {rule: [] for rule in RULES}

    def add(self, row: dict[str, Any], verdict: int, tokens: int) -> None:
        self.generations += 1
        self.generated_tokens += row["tokens"]
        self.finished += row["finished"]
        if verdict == KEPT:
            self.kept += 1
            self.tokens += tokens
            return
        rule = RULES[verdict]
        self.dropped[rule] += 1
        if len(self.examples[rule]) < _SHOWN:
            self.examples[rule].append(row["text"][:_SHOWN_CHARACTERS])

    def result(self) -> dict[str, Any]:
        """audit.json. `tokens` are those of the kept texts as tokenized anew, end-of-document included."""
        return {
            "generations": self.generations,
            "generated_tokens": self.generated_tokens,
            "finished_share": self.finished / self.generations if self.generations else 0.0,
            "kept": self.kept,
            "tokens": self.tokens,
            "mean_tokens": self.tokens / self.kept if self.kept else 0.0,
            "tokens_per_generation": self.tokens / self.generations if self.generations else 0.0,
            "dropped": self.dropped,
            "examples": self.examples,
        }
