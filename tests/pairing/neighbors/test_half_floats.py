"""Float16 to float32."""

from __future__ import annotations

import numpy as np

from megatron_sbp.pairing.neighbors.half_floats import widen

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(512, 128)


def test_every_number_is_converted_exactly():
    wide, squares = widen(EVERY)
    known = ~np.isnan(EVERY)
    np.testing.assert_array_equal(wide.view(np.uint32)[known], EVERY.astype(np.float32).view(np.uint32)[known])
    assert np.isnan(wide[~known]).all()
    assert not np.isfinite(squares[~np.isfinite(EVERY).all(axis=1)]).any()


def test_norms():
    rows = np.random.default_rng(1).standard_normal((7, 33)).astype(np.float16)
    np.testing.assert_allclose(widen(rows)[1], (rows.astype(float) ** 2).sum(axis=1), rtol=1e-5)


def test_into_an_array_that_is_there():
    room = np.full((7, 33), 5, np.float32)
    rows = np.random.default_rng(1).standard_normal((4, 33)).astype(np.float16)
    wide, _ = widen(rows, room[:4])
    assert wide.base is room and (wide == rows.astype(np.float32)).all() and (room[4:] == 5).all()


def test_rows_of_a_larger_matrix():
    rows = np.random.default_rng(1).standard_normal((20, 8)).astype(np.float16)
    np.testing.assert_array_equal(widen(rows[3:9])[0], rows[3:9].astype(np.float32))
