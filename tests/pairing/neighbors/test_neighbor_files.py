"""A file of neighbors as others read it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from megatron_sbp.pairing.neighbors.neighbor_files import read_neighbors


def test_ids_and_scores_are_read_as_they_were_written(tmp_path):
    ids = np.array([[2**40, 1], [0, 7], [3, -1]])
    scores = np.array([[0.9, 0.5], [0.75, 0.1], [0.2, -1.0]], np.float32)
    np.savez(tmp_path / "00000.npz", scores=scores, ids=ids)
    found, said = read_neighbors(tmp_path / "00000.npz")
    assert found.dtype == np.int64 and said.dtype == np.float32
    np.testing.assert_array_equal(found, ids)
    np.testing.assert_array_equal(said, scores)


def test_the_arrays_outlive_their_file(tmp_path):
    file = tmp_path / "00000.npz"
    np.savez(file, ids=np.array([[1]]), scores=np.zeros((1, 1), np.float32))
    ids, scores = read_neighbors(file)
    file.unlink()
    assert ids.tolist() == [[1]] and scores.tolist() == [[0.0]]


def test_no_library_that_searches_is_imported():
    program = (
        "import sys; import megatron_sbp.pairing.neighbors.neighbor_files; "
        "print([name for name in ('torch', 'scann', 'faiss', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
