"""Share of repeated word n-grams."""

from __future__ import annotations

import pytest

from megatron_sbp.overlap.repetition import repeated_share


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("one two three four five", 0.0),
        ("a b c d a b c d", 0.2),  # 5 4-grams, the last repeats the first
        ("la la la la la la la", 0.75),  # 4 4-grams, one different
        ("a b c d\na  b c\td", 0.2),
    ],
)
def test_by_hand(text, share):
    assert repeated_share(text) == pytest.approx(share)


def test_other_lengths():
    assert repeated_share("a b a b", n=2) == pytest.approx(1 / 3)


def test_real_text_hardly_repeats_and_a_loop_does(texts):
    shares = sorted(repeated_share(text) for text in texts)
    assert shares[len(shares) // 2] == 0 and sum(share > 0.3 for share in shares) <= 4
    loop = " ".join(texts[0].split()[:12])
    assert repeated_share(" ".join([loop] * 10)) > 0.85
