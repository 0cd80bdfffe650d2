from __future__ import annotations

import pytest
import torch

from megatron_sbp.base.device import compute_device, gpus, share_of_gpus
from megatron_sbp.base.errors import InputError


def test_device():
    assert compute_device("cpu") == "cpu"
    assert compute_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda():
    with pytest.raises(InputError, match=r"'launch.device': is cuda, but torch finds no CUDA device"):
        compute_device("cuda")


def test_gpus_by_name_or_as_the_driver_lists_them(tmp_path):
    assert gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-7f,"}, tmp_path) == ["2", "GPU-7f"]
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == [] == gpus({}, tmp_path / "none")
    for address in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / address).mkdir()
    assert gpus({}, tmp_path) == ["0", "1"]


@pytest.mark.parametrize("count, workers", [(8, 8), (8, 3), (2, 5), (1, 2), (0, 4)])
def test_workers_share_all_gpus(count, workers):
    found = [str(number) for number in range(count)]
    shares = [share_of_gpus(found, worker, workers) for worker in range(workers)]
    assert sorted({gpu for share in shares for gpu in share}) == found
    if count >= workers:
        assert sum(map(len, shares)) == count and max(map(len, shares)) - min(map(len, shares)) <= 1
    elif count:
        assert {len(share) for share in shares} == {1}


@pytest.mark.parametrize("hidden", ["-1", "NoDevFiles", " -1 ", "-1,0"])
def test_names_that_hide_all_gpus(hidden):
    """CUDA stops at the first that is no device; Slurm writes NoDevFiles into jobs without GPUs."""
    assert gpus({"CUDA_VISIBLE_DEVICES": hidden}) == []
    assert gpus({"CUDA_VISIBLE_DEVICES": f"3,MIG-a/1/0,{hidden}"}) == ["3", "MIG-a/1/0"]
