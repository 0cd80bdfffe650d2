"""Optional packages: the banner of a training and the doctor say the same of them; a recipe may need one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from megatron_sbp.doctor import packages
from megatron_sbp.doctor.packages import check_packages
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import load_recipe
from megatron_sbp.stages.run_folder import Run

PAPER = Path(__file__).parents[2] / "examples" / "sbp_3b_200b" / "recipe.yaml"


def found(*words: str) -> dict:
    run = Run.of(load_recipe(PAPER, words)) if words else None
    return {finding.check: finding for finding in check_packages(Subject(run))}


def test_every_package_has_a_line():
    assert list(found()) == ["Transformer Engine", "Apex", "flash attention", "vLLM", "ScaNN"]


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_a_recipe_whose_engine_is_missing():
    vllm = found("synthesis.engine=vllm")["vLLM"]
    assert vllm.status == "fail" and "synthesis.engine is vllm" in vllm.text and "pip install vllm" in vllm.remedy
    assert found("synthesis.engine=transformers")["vLLM"].status == "ok"
    assert found("synthesis.engine=vllm", "slurm.container_image=some/image")["vLLM"].status == "warn"
    one = "synthesizers={related: {}, more: {synthesis: {engine: vllm}}}"
    arms = "arms={baseline: {}, sbp: {synthetic: related}, other: {synthetic: more}}"
    assert found("synthesis.engine=transformers", one, arms)["vLLM"].status == "fail"


@pytest.mark.skipif(importlib.util.find_spec("transformer_engine") is not None, reason="it is installed here")
def test_a_recipe_for_gpus_lacks_transformer_engine_on_a_login_node(monkeypatch):
    monkeypatch.setattr(packages, "_gpu", lambda: False)
    lacking = found("launch.device=cuda")["Transformer Engine"]
    assert lacking.status == "warn" and "none is used here" not in lacking.text and "pip install" in lacking.remedy
    assert found("launch.device=auto")["Transformer Engine"].status == "warn"  # its jobs ask for GPUs
    inside = found("launch.device=cuda", "slurm.container_image=some/image")["Transformer Engine"]
    assert "is not installed here: " in inside.text and "slurm.container_image" in inside.remedy
    for words in (("launch.device=cpu",), ("launch.device=auto", "slurm.gpus_per_node=null"), ()):
        assert "none is used here" in found(*words)["Transformer Engine"].text


@pytest.mark.parametrize("section", ["synthesis", "embedding"])
def test_an_environment_that_the_recipe_names(tmp_path, section):
    name, key = f"vLLM ({section})", f"{section}.vllm.python"
    other = "embedding" if section == "synthesis" else "synthesis"
    usual = {"synthesis": "transformers", "embedding": "sentence_transformers"}[other]
    python = tmp_path / "bin" / "python"
    words = (f"{section}.engine=vllm", f"{other}.engine={usual}", f"{key}={python}")
    seen = found(*words)
    assert (seen[name].status, seen["vLLM"].status) == ("fail", "ok") and str(python) in seen[name].text
    assert found(*words, "slurm.container_image=some/image")[name].status == "warn"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    assert "does not run" in found(*words)[name].text
    python.write_text("#!/bin/sh\necho vllm\n")
    assert found(*words)[name].text.endswith("lacks vllm")
    python.write_text("#!/bin/sh\necho\n")
    assert found(*words)[name].status == "ok"
    assert name not in found(f"{section}.engine=vllm")


def test_the_package_of_that_name_that_is_not_nvidias(tmp_path, monkeypatch):
    if importlib.util.find_spec("amp_C"):
        pytest.skip("Apex is installed here")
    (tmp_path / "apex.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    apex = found()["Apex"]
    assert apex.status == "warn" and "not NVIDIA's" in apex.text and "pip uninstall apex" in apex.remedy


def test_an_environment_that_finds_this_package_as_the_stage_does(tmp_path, monkeypatch):
    """A clone need not be installed there."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$PYTHONPATH" in {PAPER.parents[2]}*) echo;; *) echo megatron_sbp;; esac\n')
    python.chmod(0o755)
    assert found("synthesis.engine=vllm", f"synthesis.vllm.python={python}")["vLLM (synthesis)"].status == "ok"
