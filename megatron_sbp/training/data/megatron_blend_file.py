"""Blends for people who start Megatron themselves: the file of --data-args-path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.indexed import open_lengths

MOST_TOKENS = 1 << 53
"""Of a training run, as in a recipe: floats count no further."""


def check_samples(key: str, samples: int, sequence_length: int) -> None:
    """Raises InputError for a number of sequences, or their length, that is not positive, and as `check_tokens`."""
    for name, value in ((key, samples), ("sequence length", sequence_length)):
        if value <= 0:
            raise InputError(f"must be positive, not {value}", key=name)
    check_tokens(key, samples, sequence_length)


def check_tokens(key: str, samples: int, sequence_length: int) -> None:
    """Raises InputError for more tokens than a training run can have."""
    if samples * sequence_length >= MOST_TOKENS:
        raise InputError(
            f"{samples:,} sequences of {sequence_length:,} tokens are {samples * sequence_length:,} tokens; a training "
            f"run has fewer than {MOST_TOKENS:,}",
            key=key,
        )


def blend(total: int, repeated: Path, once: dict[Path, int], sequence_length: int) -> dict[Path, int]:
    """Samples of every dataset: each of `once` gives its own, the repeated one fills up.

    Args:
        total: training sequences.
        repeated: prefix of the dataset that may be repeated.
        once: samples of the others by prefix; 0 requests all that a dataset holds.
        sequence_length: tokens of a sample.

    Raises:
        InputError: as `check_samples`, a dataset that is named twice, is shorter than one sequence, or gives
            fewer samples than requested, or once-used datasets that leave nothing for the repeated one.
    """
    check_samples("train samples", total, sequence_length)
    samples = {}
    for prefix, wanted in once.items():
        if prefix == repeated:
            raise InputError("is listed as repeated and as used once", file=prefix, key="once")
        if wanted < 0:
            raise InputError(f"cannot give {wanted} samples", file=prefix, key="once")
        tokens, available = _size(prefix, sequence_length)
        if available < max(1, wanted):
            raise InputError(
                f"has {tokens:,} tokens, that is {available:,} sequences of {sequence_length}; "
                f"{wanted or 'at least 1'} are requested",
                file=prefix,
                key="once",
            )
        samples[prefix] = wanted or available
    rest = total - sum(samples.values())
    if rest <= 0:
        raise InputError(
            f"the other datasets take {sum(samples.values()):,} of {total:,} samples; none is left for it",
            file=repeated,
            key="repeated",
        )
    tokens, available = _size(repeated, sequence_length)
    if available < 1:
        raise InputError(
            f"its {tokens:,} tokens do not fill one sequence of {sequence_length} and the label after it",
            file=repeated,
            key="repeated",
        )
    return {repeated: rest, **samples}


def parse_once(words: Iterable[str]) -> dict[Path, int]:
    """What --once options say, each PREFIX or PREFIX:SAMPLES: samples by prefix, 0 for all.

    Raises:
        InputError: samples that are not a positive number, or a prefix that is named twice.
    """
    once: dict[Path, int] = {}
    for word in words:
        prefix, colon, count = word.rpartition(":")
        if not colon or "/" in count:  # a folder may have a time in its name
            prefix, count = word, ""
        if count and not (count.isascii() and count.isdigit()):
            raise InputError(f"'{count}' is not a number of samples", key="--once")
        if count and int(count) == 0:
            raise InputError(f"{prefix} gives 0 samples; leave it out instead", key="--once")
        if Path(prefix) in once:
            raise InputError(f"{prefix} is named twice", key="--once")
        once[Path(prefix)] = int(count or 0)
    return once


def _size(prefix: Path, sequence_length: int) -> tuple[int, int]:
    """Tokens of a dataset, and the sequences that they fill once, the label of the last token included."""
    tokens = int(open_lengths(prefix).sum(dtype="int64"))
    return tokens, max(0, tokens - 1) // sequence_length


def write_data_args(path: Path, samples: dict[Path, int]) -> None:
    """Writes `weight prefix` pairs as Megatron's --data-args-path reads them: one line, weights are samples.

    Megatron normalizes them to proportions and lets each dataset round: to be exact to the sample, train with
    megatron_sbp.training.pretrain and --sbp-data instead.

    Raises:
        InputError: a prefix with white space, which Megatron would read as two words.
    """
    for prefix in samples:
        if len(str(prefix).split()) != 1:
            raise InputError("Megatron cannot read a prefix with white space from a file", file=prefix)
    files.write_text(path, " ".join(f"{count} {prefix}" for prefix, count in samples.items()) + "\n")
