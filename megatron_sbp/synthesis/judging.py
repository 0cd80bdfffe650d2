"""Applies the filters to every raw generation individually, shard by shard."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from megatron_sbp.base import arrays
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.overlap.near_duplicates import band_keys, signatures
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.further_rules import (
    Candidate,
    FurtherRule,
    FurtherSources,
    further_rules,
    measure_names,
    measures_of,
)
from megatron_sbp.synthesis.judged import PASSED, Judged
from megatron_sbp.synthesis.retokenized import UNKNOWN, compare_ids
from megatron_sbp.synthesis.rule_names import VERDICTS
from megatron_sbp.synthesis.synthesizer import without_end
from megatron_sbp.synthesis.text_rules import first_rule
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import TextTokenizer

_AT_ONCE = 256
"""Texts tokenized together; a tokenizer takes several hundred bytes per token."""


def judge_shard(
    rows: Sequence[JsonObject],
    shard: str,
    target: Judged,
    *,
    tokenizer: TextTokenizer,
    tokens: Path | None,
    rules: Filter,
    length: int,
    sources: FurtherSources | None = None,
) -> list[Path]:
    """Writes the verdicts on the raw generations of one shard, and the inputs for finding duplicates, in order.

    Args:
        rows: raw generations.
        shard: its name.
        target: files, each written atomically.
        tokenizer: the one used for training.
        tokens: prefix of the seed documents' IndexedDataset, one sequence per document; None if no row names one.
        rules: the recipe's filter section.
        length: tokens in a shingle.
        sources: inputs of the recipe's opt-in rules.

    Returns:
        The files written.

    Raises:
        InputError: the user's function failed.
    """
    real = None if tokens is None else open_indexed(tokens)
    further, names = further_rules(rules, sources or FurtherSources(), tokenizer), measure_names(rules)
    verdicts: list[int] = []
    counts, states, passed = [], [], []
    measures = np.full((len(names), len(rows)), np.nan, np.float32)
    with Progress(f"judge {shard}", len(rows), "generations") as progress:
        for some in itertools.batched(rows, _AT_ONCE):
            begin, candidates = len(verdicts), []
            flat, lengths = tokenizer.encode_flat([row["text"] for row in some], None, np.int64)
            for row, ids in zip(some, np.split(flat, lengths.cumsum()[:-1]), strict=True):
                seed_row = row["seed_row"]  # null for documents written without a seed
                if seed_row is None or real is None:
                    seed_tokens = np.empty(0, np.int64)
                else:
                    seed_tokens = without_end(real[seed_row], tokenizer)
                one = Candidate(row, ids, seed_tokens, shard, len(verdicts))
                rule = first_rule(row, rules, one.tokens, seed_tokens, length)
                verdicts.append(VERDICTS.index(rule) if rule else PASSED)
                state, length_read = compare_ids(row, ids, tokenizer)
                counts.append((len(ids) if rules.retokenize else length_read) + 1)
                states.append(state)
                candidates.append(one)
            _judge_further(further, candidates, verdicts=verdicts, measures=measures, names=names, begin=begin)
            passed += [row["text"] for row, verdict in zip(some, verdicts[begin:], strict=True) if verdict == PASSED]
            progress.advance(len(some))
    told = [verdicts, counts, *([states] if any(state != UNKNOWN for state in states) else [])]
    made: dict[Path, np.ndarray] = {
        target.verdicts: np.array(told, np.int32).reshape(len(told), -1),
        target.digests: np.array([digest_of(text) for text in passed], np.uint64),
    }
    if rules.duplicates == "near":
        signed = signatures(passed)
        made |= {target.signatures: signed, target.bands: band_keys(signed)}
    if names:
        made[target.measures] = measures
    for path, array in made.items():
        arrays.save(path, array)
    return list(made)


def _judge_further(
    further: dict[str, FurtherRule],
    candidates: list[Candidate],
    *,
    verdicts: list[int],
    measures: np.ndarray,
    names: tuple[str, ...],
    begin: int,
) -> None:
    """Applies the opt-in rules to a batch whose first text is number `begin` of the shard; each rule gets the texts
    that passed the previous ones."""
    for rule, judge in further.items():
        left = [place for place in range(len(candidates)) if verdicts[begin + place] == PASSED]
        said = judge.opinions([candidates[place] for place in left])
        for place, opinion in zip(left, said, strict=True):
            if opinion.drops:
                verdicts[begin + place] = VERDICTS.index(rule)
            for name, value in measures_of(rule, opinion).items():
                measures[names.index(name), begin + place] = value


def digest_of(text: str) -> int:
    """64-bit digest of a text, ignoring white space, for `Judged.digests`."""
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode(), digest_size=8).digest(), "little")
