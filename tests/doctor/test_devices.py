"""torch, the driver, and GPUs; what a recipe that needs CUDA is told where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatron_sbp.doctor import devices
from megatron_sbp.doctor.devices import check_devices, check_torch, cuda_devices
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def subject(*words: str) -> Subject:
    return Subject(Run.of(load_recipe(PAPER, words)))


def test_torch_says_its_version():
    (finding,) = check_torch(Subject())
    assert finding.status == "ok" and torch.__version__ in finding.text


def test_the_machine_alone_needs_no_gpu():
    (finding,) = check_devices(Subject())
    assert finding.status in ("ok", "warn")
    assert len(cuda_devices()) == torch.cuda.device_count()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_recipe_for_gpus_on_a_machine_without(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    (inside,) = check_devices(subject("launch.device=cuda"))
    assert inside.status == "fail" and "launch.device is cuda" in inside.text and "--gpus-per-node" in inside.remedy
    (cpu,) = check_devices(subject("launch.device=auto"))
    assert cpu.status == "ok"


def test_a_recipe_for_cpus_needs_no_torch_with_cuda(monkeypatch):
    """On a workstation with an NVIDIA driver, whose torch is built for CPUs or whose GPU is hidden or broken."""
    monkeypatch.setattr(devices, "driver_version", lambda: "570.1")
    monkeypatch.setattr(devices, "cuda_devices", list)
    (finding,) = check_devices(subject("launch.device=cpu"))
    assert finding.status == "ok" and "launch.device is cpu" in finding.text
    (finding,) = check_devices(subject("launch.device=auto", "slurm.gpus_per_node=null"))
    assert finding.status == "warn" and "a run will use the CPU" in finding.text
    for words in (["launch.device=cuda"], ["launch.device=auto", "slurm.gpus_per_node=8"]):
        (finding,) = check_devices(subject(*words))
        assert finding.status == "fail" and "NVIDIA driver 570.1" in finding.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_fewer_gpus_than_ranks():
    count = torch.cuda.device_count()
    batch = ["training.global_batch_size=65536", "tuning.global_batch_size=65536", "launch.nodes=1"]
    (finding,) = check_devices(subject(*batch, "launch.ranks_per_node=512"))
    assert finding.status == "fail" and "512 ranks" in finding.text and f"{count} x" in finding.text
