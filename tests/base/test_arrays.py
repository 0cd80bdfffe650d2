"""NumPy's files are written whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from megatron_sbp.base import arrays


def test_what_is_written_is_read_back(tmp_path):
    arrays.save(tmp_path / "new" / "one.npy", np.arange(6, dtype=np.uint16).reshape(2, 3))
    found = np.load(tmp_path / "new" / "one.npy", mmap_mode="r")
    assert found.dtype == np.uint16 and found.tolist() == [[0, 1, 2], [3, 4, 5]]
    arrays.save_together(tmp_path / "two.npz", ids=np.arange(3), scores=np.empty(0, np.float32))
    with np.load(tmp_path / "two.npz") as together:
        assert together["ids"].tolist() == [0, 1, 2] and together["scores"].dtype == np.float32
    assert sorted(path.name for path in tmp_path.rglob("*.np*")) == ["one.npy", "two.npz"]


@pytest.mark.parametrize("name", ["one.npy", "two.npz"])
def test_a_failure_leaves_the_former_file(tmp_path, name):
    class Unwritable:
        def __array__(self, *args, **kwargs):
            raise OSError("no space left")

    def write(array) -> None:
        if name == "one.npy":
            arrays.save(tmp_path / name, array)
        else:
            arrays.save_together(tmp_path / name, good=np.arange(5), bad=array)

    write(np.arange(3))
    before = (tmp_path / name).read_bytes()
    with pytest.raises(OSError, match="no space left"):
        write(Unwritable())
    assert (tmp_path / name).read_bytes() == before and [path.name for path in tmp_path.iterdir()] == [name]
