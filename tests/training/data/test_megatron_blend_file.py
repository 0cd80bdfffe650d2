"""Blends for people who start Megatron themselves: samples that add up, and words that Megatron can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.tokenization.indexed import write_indexed
from megatron_sbp.training.data.megatron_blend_file import blend, parse_once, write_data_args


@pytest.fixture
def datasets(tmp_path) -> dict[str, Path]:
    """real: 70 tokens; one: 21, exactly two sequences of ten and the last label; short: 10, not even one."""
    found = {}
    for name, lengths in (("real", [30, 40]), ("one", [21]), ("short", [10])):
        found[name] = tmp_path / name
        with write_indexed(found[name], np.uint16) as writer:
            writer.add(np.zeros(sum(lengths), np.uint16), np.array(lengths, np.int32))
    return found


def test_once_used_datasets_give_their_own_and_the_repeated_one_fills_up(datasets):
    real, one = datasets["real"], datasets["one"]
    assert blend(100, real, {one: 0}, 10) == {real: 98, one: 2}
    assert blend(100, real, {one: 1}, 10) == {real: 99, one: 1}
    assert blend(1, real, {}, 10) == {real: 1}
    assert next(iter(blend(9, real, {one: 0}, 10))) == real  # the repeated one comes first


@pytest.mark.parametrize(
    ("total", "repeated", "once", "length", "message"),
    [
        (0, "real", {}, 10, "'train samples': must be positive, not 0"),
        (9, "real", {}, -1, "'sequence length': must be positive, not -1"),
        (9, "real", {"real": 1}, 10, "is listed as repeated and as used once"),
        (9, "real", {"one": -1}, 10, "cannot give -1 samples"),
        (9, "real", {"one": 3}, 10, "has 21 tokens, that is 2 sequences of 10; 3 are requested"),
        (9, "real", {"short": 0}, 10, "that is 0 sequences of 10; at least 1 are requested"),
        (2, "real", {"one": 0}, 10, "the other datasets take 2 of 2 samples; none is left for it"),
        (9, "short", {}, 10, "its 10 tokens do not fill one sequence of 10 and the label after it"),
    ],
)
def test_what_cannot_be_is_refused_by_name(datasets, total, repeated, once, length, message):
    with pytest.raises(InputError, match=message):
        blend(total, datasets[repeated], {datasets[name]: count for name, count in once.items()}, length)


def test_the_file_is_one_line_of_weights_and_prefixes(tmp_path):
    write_data_args(tmp_path / "out", {Path("a/b"): 95, Path("c"): 5})
    assert (tmp_path / "out").read_text() == "95 a/b 5 c\n"
    with pytest.raises(InputError, match="white space"):
        write_data_args(tmp_path / "other", {Path("with space"): 1})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("count", ["x", "-3", "\u00b2", "\u0663", "1.5"])
def test_what_is_no_number_of_samples(count):
    with pytest.raises(InputError, match=r"'--once': '.*' is not a number of samples"):
        parse_once([f"data:{count}"])
