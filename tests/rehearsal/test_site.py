"""What a rehearsal can use where it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from megatron_sbp.recipe import Documents, Recipe
from megatron_sbp.recipe.sections import Launch, Slurm
from megatron_sbp.rehearsal.site import ENGINES, Site, cluster, this_machine


def recipe(device: str = "auto", **slurm) -> Recipe:
    documents = Documents(inputs=["corpus.jsonl"], train=200, valid=40, test=30)
    return small_recipe(Path("/run"), documents, launch=Launch(device=device), slurm=Slurm(**slurm))


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A package of this name, whose import would take forever."""
    (tmp_path / "vllm.py").write_text("raise AssertionError('nothing is imported to see whether it is there')")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_machine_has_the_gpus_that_torch_counts():
    import torch

    found = this_machine()
    assert not found.slurm and found.gpus == torch.cuda.device_count()


def test_packages_are_found_without_their_import(vllm):
    assert "vllm" in this_machine().packages <= set(ENGINES)
    assert "vllm" in cluster(recipe()).packages and "vllm" not in sys.modules


def test_packages_that_are_not_there_are_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ENGINES:  # an earlier test of this process may have imported one
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert cluster(recipe()).packages == frozenset()


def test_a_container_has_all_engines(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = cluster(recipe(container_image="nvcr.io/nvidia/nemo"))
    assert found == Site(slurm=True, gpus=0, packages=frozenset(ENGINES))


@pytest.mark.parametrize(("gpus", "device", "found"), [(2, "auto", True), (0, "cuda", False), (2, "cpu", False)])
def test_on_this_machine_gpus_are_used_where_they_are_unless_the_recipe_says_cpu(gpus, device, found):
    assert Site(slurm=False, gpus=gpus, packages=frozenset()).on_gpu(recipe(device, gpus_per_node=8)) == found


@pytest.mark.parametrize(("device", "asked", "found"), [("auto", 8, True), ("cuda", None, False), ("cpu", 8, False)])
def test_on_a_cluster_gpus_are_there_where_jobs_ask_for_them(device, asked, found):
    assert Site(slurm=True, gpus=0, packages=frozenset()).on_gpu(recipe(device, gpus_per_node=asked)) == found
