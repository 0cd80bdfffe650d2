"""A link to another file system is named before anything is renamed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.one_file_system import check_one_file_system

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def elsewhere(tmp_path):
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Path(folder)


def test_folders_of_one_file_system(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    names = ("there", "link", "not/yet", "dangling", "link/below")
    check_one_file_system(tmp_path, [tmp_path, *(tmp_path / name for name in names)])


@pytest.mark.parametrize("place", ["models", "models/x", "models/not/yet"])
def test_a_link_to_another_one_is_named(tmp_path, elsewhere, place):
    (tmp_path / "models").symlink_to(elsewhere)
    (elsewhere / "x").mkdir()
    with pytest.raises(
        InputError, match=f"{tmp_path}/models: leads to another file system .{elsewhere}. than {tmp_path}"
    ):
        check_one_file_system(tmp_path, [tmp_path, tmp_path / place])
