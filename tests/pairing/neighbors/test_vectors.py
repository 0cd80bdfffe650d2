from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.pairing.neighbors.vectors import Vectors


def test_several_files_are_one_matrix(save_vectors, helpers):
    rows = helpers.unit_vectors(50, 8)
    vectors = save_vectors([rows[:20], rows[20:21], rows[21:]])
    assert len(vectors) == 50 and vectors.dimensions == 8
    tiles = [(first, tile.copy()) for first, tile in vectors.tiles(7)]
    assert [first for first, _ in tiles] == [0, 7, 14, 20, 21, 28, 35, 42, 49]
    assert all(tile.dtype == np.float32 for _, tile in tiles)
    np.testing.assert_array_equal(np.concatenate([tile for _, tile in tiles]), rows)
    wanted = np.array([49, 0, 20, 19, 21, 20])
    np.testing.assert_array_equal(vectors.take(wanted), rows[wanted])


def test_float32_files_are_read_as_float16(tmp_path, helpers):
    rows = helpers.unit_vectors(5, 8).astype(np.float32) * np.float32(1.00001)
    np.save(tmp_path / "a.npy", rows)
    vectors = Vectors([tmp_path / "a.npy"])
    np.testing.assert_array_equal(vectors.read(0), rows.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(vectors.take(np.arange(5)), vectors.read(0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "the vector in row 13 has values that are not finite"),
        (np.inf, "the vector in row 13 has values that are not finite"),
        (0.0, "the vector in row 13 has length 0; embeddings must have length 1"),
        (3.0, "the vector in row 13 has length 8.485; embeddings must have length 1"),
    ],
)
def test_bad_rows_are_named(save_vectors, helpers, value, message):
    second = helpers.unit_vectors(20, 8)
    second[13] = value
    vectors = save_vectors([helpers.unit_vectors(5, 8), second])
    with pytest.raises(InputError, match=r"00001\.npy: " + message):
        list(vectors.tiles(4))


def test_vectors_that_were_checked_are_not_checked_again(save_vectors, helpers, monkeypatch):
    rows = helpers.unit_vectors(20, 8)
    vectors = Vectors(save_vectors([rows[:5], rows[5:]]).files, checked=True)
    monkeypatch.setattr(Vectors, "check", lambda *_: pytest.fail("checked"))
    np.testing.assert_array_equal(np.concatenate([tile.copy() for _, tile in vectors.tiles(4)]), rows)


def test_bad_files_are_named(tmp_path, save_vectors, helpers):
    with pytest.raises(InputError, match="no such file"):
        Vectors([tmp_path / "none.npy"])
    (tmp_path / "text.npy").write_text("no numpy")
    with pytest.raises(InputError, match=r"text\.npy: not a NumPy matrix"):
        Vectors([tmp_path / "text.npy"])
    np.save(tmp_path / "cut.npy", helpers.unit_vectors(20, 8))
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-3])
    with pytest.raises(InputError, match=r"cut\.npy: not a NumPy matrix, or damaged"):
        Vectors([tmp_path / "cut.npy"])
    np.save(tmp_path / "ids.npy", np.arange(6).reshape(2, 3))
    with pytest.raises(InputError, match="must hold floating point numbers"):
        Vectors([tmp_path / "ids.npy"])
    with pytest.raises(InputError, match=r"00001\.npy: has 9 dimensions, but 00000\.npy has 8"):
        save_vectors([helpers.unit_vectors(5, 8), helpers.unit_vectors(5, 9)])
