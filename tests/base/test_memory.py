"""Free memory, in made-up control groups of both versions."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from megatron_sbp.base.memory import free_memory, is_out_of_memory

MB = 1 << 20


def group(folder: Path, limit: tuple[str, str], **stat: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit[0]).write_text(f"{limit[1]}\n")
    (folder / "memory.stat").write_text("".join(f"{name} {value}\n" for name, value in stat.items()))


def of_self(tmp_path: Path, text: str) -> Path:
    (tmp_path / "self").write_text(text)
    return tmp_path / "self"


def test_the_least_of_all_limits_counts_and_files_do_not(tmp_path):
    groups = tmp_path / "groups"
    group(groups / "job", ("memory.max", str(50 * MB)), anon=10 * MB, shmem=5 * MB, file=30 * MB)
    group(groups / "job" / "step", ("memory.max", "max"), anon=10 * MB, shmem=0)
    told = of_self(tmp_path, "0::/job/step\n")
    assert free_memory(groups, told) == 35 * MB
    group(groups / "job" / "step", ("memory.max", str(12 * MB)), anon=10 * MB, shmem=0)
    assert free_memory(groups, told) == 2 * MB
    group(groups / "job" / "step", ("memory.max", str(12 * MB)), anon=13 * MB, shmem=0)
    assert free_memory(groups, told) == 0


def test_groups_of_version_1(tmp_path):
    groups = tmp_path / "groups"
    group(groups / "memory", ("memory.limit_in_bytes", str((1 << 63) - 4096)), total_rss=0)
    group(groups / "memory" / "slurm" / "job_1", ("memory.limit_in_bytes", str(64 * MB)), total_rss=4 * MB, cache=9)
    told = of_self(tmp_path, "12:cpuset:/slurm/job_1\n5:cpu,memory:/slurm/job_1\n")
    assert free_memory(groups, told) == 60 * MB


def test_without_limits_it_is_that_of_the_machine(tmp_path):
    for told in ("", "0::/\n", "0::/not/seen/from/here\n", "3:cpuset:/job\n"):
        found = free_memory(tmp_path / "groups", of_self(tmp_path, told))
        assert abs(found - psutil.virtual_memory().available) < 1 << 30
    assert 0 < free_memory() <= psutil.virtual_memory().total
    assert free_memory(tmp_path / "groups", tmp_path / "missing") > 0


def test_torch_says_in_three_ways_that_memory_is_short():
    import torch

    with pytest.raises(RuntimeError) as of_cpu:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(of_cpu.value)
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory.")) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("CUDA error")) and not is_out_of_memory(OSError(12, "no memory"))
