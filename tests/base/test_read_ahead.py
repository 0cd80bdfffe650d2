"""One item ahead, and not more."""

from __future__ import annotations

import threading

import pytest

from megatron_sbp.base.read_ahead import read_ahead


def test_everything_comes_in_order():
    assert list(read_ahead(range(100))) == list(range(100))
    assert list(read_ahead([])) == []


def test_the_next_item_is_made_while_one_is_in_use():
    made = [threading.Event() for _ in range(4)]

    def items():
        for event in made:
            event.set()
            yield event

    for place, _ in enumerate(read_ahead(items())):
        if place < 3:
            assert made[place + 1].wait(10)
        if place < 2:
            assert not made[place + 2].is_set()


def test_faults_come_through():
    def items():
        yield 1
        raise ValueError("of the second")

    source = read_ahead(items())
    assert next(source) == 1
    with pytest.raises(ValueError, match="of the second"):
        next(source)


def test_stopping_early_leaves_no_thread():
    before = threading.active_count()
    source = read_ahead(range(10))
    next(source)
    source.close()
    assert threading.active_count() == before
