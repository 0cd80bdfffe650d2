"""Blends for people who start Megatron themselves: the file of --data-args-path."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp import files
from megatron_sbp.errors import InputError
from megatron_sbp.tokenization.indexed import open_indexed


def blend(total: int, repeated: Path, once: dict[Path, int], sequence_length: int) -> dict[Path, int]:
    """Samples of every dataset: each of `once` gives its own, the repeated one fills up.

    Args:
        total: training sequences.
        repeated: prefix of the dataset that may be repeated.
        once: samples of the others by prefix; 0 asks for all that a dataset holds.
        sequence_length: tokens of a sample.

    Raises:
        InputError: a dataset that is empty or shorter than one sequence, gives fewer samples than asked for, or leaves
            nothing for the repeated one.
    """
    samples = {}
    for prefix, wanted in once.items():
        tokens = int(open_indexed(prefix).lengths.sum(dtype="int64"))
        available = (tokens - 1) // sequence_length if tokens else 0
        if available < max(1, wanted):
            raise InputError(
                f"has {tokens:,} tokens, that is {max(0, available):,} sequences of {sequence_length}; "
                f"{wanted or 'at least 1'} are asked for",
                file=prefix,
            )
        samples[prefix] = wanted or available
    rest = total - sum(samples.values())
    if rest <= 0:
        raise InputError(f"the other datasets take {sum(samples.values()):,} of {total:,} samples; none is left for it",
                         file=repeated)  # fmt: skip
    if not int(open_indexed(repeated).lengths.sum(dtype="int64")):
        raise InputError("has no tokens", file=repeated)
    return {repeated: rest, **samples}


def write_data_args(path: Path, samples: dict[Path, int]) -> None:
    """Writes `weight prefix` pairs as Megatron's --data-args-path reads them: one line, weights are samples.

    Megatron normalises them to proportions and lets each dataset round: to be exact to the sample, train with
    megatron_sbp.training.pretrain and --sbp-data instead.
    """
    files.write_text(path, " ".join(f"{count} {prefix}" for prefix, count in samples.items()) + "\n")
