"""Random streams and the nucleus: checked against a plain sort, by hand, and by counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.nucleus import invert
from megatron_sbp.synthesis.token_sampling import invert_sorted, sample, stream_keys, uniforms


def nucleus(probabilities: np.ndarray, top_p: float) -> list[int]:
    """Ids of the smallest set of most probable tokens with top_p or more, by definition."""
    total, chosen = 0.0, []
    for token in sorted(range(len(probabilities)), key=lambda token: (-probabilities[token], token)):
        if (total >= top_p and top_p < 1) or probabilities[token] == 0:
            break
        chosen.append(token)
        total += float(probabilities[token])
    return sorted(chosen)


def by_definition(probabilities: np.ndarray, uniform: float, top_p: float) -> int:
    inside = nucleus(probabilities, top_p)
    cumulative = np.cumsum([float(probabilities[token]) for token in inside])
    return inside[int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right").clip(0, len(inside) - 1))]


def rows(kind: str, count: int, vocabulary: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(4)
    logits = torch.randn(count, vocabulary, generator=random)
    scale = {"flat": 0.1, "usual": 2.5, "sharp": 12.0}.get(kind, 1.0)
    logits *= scale
    if kind == "ties":
        logits = logits.round()  # many tokens are equally probable, also at the edge
    if kind == "few":
        logits[:, 5:] = float("-inf")
    return logits


@pytest.mark.parametrize("kind", ["flat", "usual", "sharp", "ties", "few"])
@pytest.mark.parametrize("top_p", [1e-6, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("vocabulary", [50, 3000])
def test_both_ways_follow_the_definition(kind, top_p, vocabulary):
    """The nucleus of a flat row has thousands of tokens, that of a sharp one a single one."""
    probabilities = torch.softmax(rows(kind, 40, vocabulary), dim=1)
    uniform = np.random.default_rng(1).random(40)
    uniform[:2] = 0.0, 1 - 1e-9
    expected = [by_definition(row, u, top_p) for row, u in zip(probabilities.numpy(), uniform, strict=True)]
    fast = invert(probabilities.numpy(), uniform, top_p)
    plain = invert_sorted(probabilities, torch.from_numpy(uniform), top_p).numpy()
    assert fast.tolist() == expected
    assert plain.tolist() == expected


def test_edges_by_hand():
    probabilities = np.array([[0.25, 0.1, 0.25, 0.25, 0.15]], np.float32)
    # 0.5 is reached by two of the three equal ones: the lower ids, 0 and 2.
    assert [invert(probabilities, np.array([u]), 0.5)[0] for u in (0.0, 0.49, 0.5, 0.99)] == [0, 0, 2, 2]
    assert [invert(probabilities, np.array([u]), 0.8)[0] for u in (0.0, 0.3, 0.6, 0.84)] == [0, 2, 3, 4]
    certain = np.array([[0.0, 1.0, 0.0]], np.float32)
    assert invert(certain, np.array([0.999]), 1.0)[0] == 1


def test_frequencies_are_the_renormalized_softmax():
    """Chi-square of 200,000 draws from one row, against temperature, softmax and nucleus of torch."""
    logits = rows("usual", 1, 60)
    temperature, top_p, count = 0.8, 0.9, 200_000
    keys = stream_keys([Generation(row, 0) for row in range(count)], seed=1)
    uniform = torch.from_numpy(uniforms(keys, 7))
    drawn = sample(logits.expand(count, -1).contiguous(), uniform, temperature, top_p)
    probabilities = torch.softmax(logits[0].double() / temperature, 0).numpy()
    inside = nucleus(probabilities, top_p)
    counts = np.bincount(drawn.numpy(), minlength=60)
    assert set(np.flatnonzero(counts)) == set(inside)
    expected = probabilities[inside] / probabilities[inside].sum() * count
    chi_square = ((counts[inside] - expected) ** 2 / expected).sum()
    free = len(inside) - 1
    assert free > 5 and chi_square < free + 4 * np.sqrt(2 * free)
    # Another temperature would be found out.
    other = torch.softmax(logits[0].double(), 0).numpy()
    expected = other[inside] / other[inside].sum() * count
    assert ((counts[inside] - expected) ** 2 / expected).sum() > free + 100 * np.sqrt(2 * free)


def test_forbidden_tokens_never_come():
    logits = torch.zeros(1000, 10)
    logits[:, [1, 2]] = float("-inf")
    drawn = sample(logits, torch.rand(1000, dtype=torch.float64), 1.0, 1.0)
    assert set(drawn.tolist()) == {0, 3, 4, 5, 6, 7, 8, 9}


def test_streams_are_uniform_and_independent():
    keys = stream_keys([Generation(row, number) for row in range(500) for number in range(4)], seed=9)
    assert len(np.unique(keys)) == 2000
    table = np.stack([uniforms(keys, position) for position in range(100)])  # [positions, streams]
    assert table.min() >= 0 and table.max() < 1
    counts = np.histogram(table, bins=50, range=(0, 1))[0]
    expected = table.size / 50
    assert ((counts - expected) ** 2 / expected).sum() < 49 + 4 * np.sqrt(2 * 49)
    limit = 5 / np.sqrt(table.size)
    centered = (table - 0.5) * np.sqrt(12)
    assert abs((centered[1:] * centered[:-1]).mean()) < limit  # from position to position
    assert abs((centered[:, 1:] * centered[:, :-1]).mean()) < limit  # from generation to generation
    mine = stream_keys([Generation(row, 0) for row in range(500)], 9)
    assert not np.isin(stream_keys([Generation(row, 0) for row in range(500)], 10), mine).any()
    assert not np.isin(stream_keys([Generation(row, 1) for row in range(500)], 9), mine).any()


def test_a_stream_is_its_own():
    some, more = (
        [Generation(3, 1), Generation(8, 0)],
        [Generation(9, 9), Generation(8, 0), Generation(1, 2), Generation(3, 1)],
    )
    assert (stream_keys(some, 1) == stream_keys(more, 1)[[3, 1]]).all()
    assert (uniforms(stream_keys(some, 1), 5) == uniforms(stream_keys(more, 1), 5)[[3, 1]]).all()
    # Other numbers here mean that runs which were begun before cannot be continued.
    assert uniforms(stream_keys(some, 1), 5).tolist() == [0.752185005098482, 0.2189936282596736]
