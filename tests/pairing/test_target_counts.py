from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from megatron_sbp.pairing.target_counts import HUBS, TargetCounts


def names(count: int) -> pa.ChunkedArray:
    half = count // 2
    ids = [f"d{row}" for row in range(count)]
    return pa.chunked_array([pa.array(ids[:half], pa.large_string()), pa.array(ids[half:], pa.large_string())])


@pytest.mark.parametrize("cuts", [(), (1, 400, 401)])
def test_counts(cuts):
    targets = np.random.default_rng(0).zipf(1.5, 3000) % 500
    counts = TargetCounts(600)
    for part in np.split(targets, cuts):
        counts.add(part)
    expected = Counter(targets.tolist())
    ordered = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    found = counts.summary(names(600))
    assert (found["targets"], found["largest"]) == (len(expected), ordered[0][1])
    assert found["mean"] == pytest.approx(3000 / len(expected))
    assert found["median"] == np.median(list(expected.values()))
    assert found["hubs"] == [{"id": f"d{row}", "row": row, "seeds": seeds} for row, seeds in ordered[:HUBS]]
    top = sum(seeds for _, seeds in ordered[: max(1, len(expected) // 100)])
    assert found["share_of_top_percent"] == pytest.approx(top / 3000)
    json.dumps(found, allow_nan=False)


def test_fewer_targets_than_hubs():
    counts = TargetCounts(4)
    counts.add(np.array([2, 2, 0]))
    assert [hub["row"] for hub in counts.summary(names(4))["hubs"]] == [2, 0]


def test_no_pair():
    assert TargetCounts(3).summary(names(3))["targets"] == 0
