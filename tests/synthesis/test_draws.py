"""The plan of draws: uniform over D, the same for every longer plan, cut into batches by length."""

from __future__ import annotations

from collections import Counter

import numpy as np

from megatron_sbp.synthesis.draws import Draw, batches, draws, planned_draws


def test_every_document_equally_often_up_to_one():
    found = draws(0, 260, documents=100, seed=1)
    assert set(Counter(draw.row for draw in found).values()) == {2, 3}
    assert len({draw.name for draw in found}) == 260
    for row in range(100):
        assert [draw.number for draw in found if draw.row == row] == list(range(3))[: 3 if row_in(found, row) else 2]


def row_in(found: list[Draw], row: int) -> bool:
    return any(draw == Draw(row, 2) for draw in found)


def test_shards_are_parts_of_one_plan():
    whole = draws(0, 1000, documents=137, seed=5)
    parts = [draw for begin in range(0, 1000, 90) for draw in draws(begin, min(begin + 90, 1000), 137, 5)]
    assert parts == whole
    assert draws(0, 400, 137, 5) == whole[:400]


def test_passes_and_seeds_have_their_own_order():
    first, second = draws(0, 100, 100, 1), draws(100, 200, 100, 1)
    assert [draw.row for draw in first] != [draw.row for draw in second] != list(range(100))
    assert [draw.row for draw in draws(0, 100, 100, 2)] != [draw.row for draw in first]


def test_number_of_draws():
    assert planned_draws(1000, 1.5, 100.0) == 15
    assert planned_draws(1001, 1.5, 100.0) == 16


def test_batches_hold_similar_lengths_and_every_draw_once():
    planned = draws(0, 100, 40, 3)
    lengths = np.array([10 + draw.row % 7 for draw in planned])
    cut = batches(planned, lengths, 16)
    assert sorted(place for batch in cut for place in batch) == list(range(100))
    assert [len(batch) for batch in cut] == [16] * 6 + [4]
    ordered = [lengths[place] for batch in cut for place in batch]
    assert ordered == sorted(ordered, reverse=True)
    assert batches([], np.array([]), 16) == []


def test_batches_do_not_depend_on_the_order_of_the_draws():
    planned = draws(0, 60, 40, 3)
    lengths = {draw: 5 + draw.row % 4 for draw in planned}
    turned = planned[::-1]
    cuts = [batches(some, np.array([lengths[draw] for draw in some]), 8) for some in (planned, turned)]
    assert [[planned[p] for p in batch] for batch in cuts[0]] == [[turned[p] for p in batch] for batch in cuts[1]]
