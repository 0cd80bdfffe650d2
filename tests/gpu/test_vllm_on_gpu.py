"""vLLM on a CUDA device, with every option of the recipe that a CPU cannot try.

In the interpreter that runs the tests, or in the one that SBP_VLLM_PYTHON names, which needs vLLM and no pytest. With
SBP_GPU_TESTS=cpu the tests themselves are tried out with .venv-vllm: two options, and no second device.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support.gpu_marks import DEVICES, REHEARSAL, gpus
from support.vllm_checks import END, PADDING, SEPARATOR, logits_after, make_model, make_prompts, nucleus_pvalue, ties
from support.vllm_environment import ROOT

from megatron_sbp.synthesis.engine import EngineSettings
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.transformers_engine import TransformersEngine

pytestmark = gpus(1)
FORBIDDEN = [PADDING, SEPARATOR]
TIE, MOST_TIES = 1e-3, 4
"""Logits this close are a tie, which rounding on the GPU decides; texts that may differ by one."""
DRAWS, SIGNIFICANCE = 1500, 1e-3
OPTIONS = {
    "usual": {},
    "few": {"max_num_seqs": 4},
    "eager": {"eager": True, "prefix_caching": False},
    "chunked": {"chunked_prefill": True, "max_num_seqs": 4},
    "whole": {"chunked_prefill": False},
    "invariant": {"batch_invariant": True},
    "speculative": {"speculative_tokens": 3},
    "tensor": {"tensor_parallel": 2},
}
ON_CPUS = {"usual", "few"}


@pytest.fixture(scope="module")
def python(request) -> str:
    if REHEARSAL:
        return str(request.getfixturevalue("vllm_python"))
    named = os.environ.get("SBP_VLLM_PYTHON")
    if named is None and importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed here, and SBP_VLLM_PYTHON names no interpreter that has it")
    return named or sys.executable


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    make_model(folder)
    return folder


@pytest.fixture(scope="module", params=OPTIONS)
def told(request, python, model, vllm_run, tmp_path_factory) -> dict:
    """What vllm_variant.py wrote; the one with the usual options also writes a shard whose process dies."""
    if REHEARSAL and request.param not in ON_CPUS:
        pytest.skip("vLLM's build for CPUs has no such option")
    if request.param == "tensor" and DEVICES < 2:
        pytest.skip("needs 2 CUDA devices")
    folder = tmp_path_factory.mktemp(request.param)
    plan = {"checkpoint": str(model), "end": END, "forbidden": FORBIDDEN, "prompts": make_prompts(), "draws": DRAWS,
            "vllm": OPTIONS[request.param], "run": str(vllm_run) if request.param == "usual" else None}  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    program = ROOT / "tests" / "support" / "vllm_variant.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, program, folder / "plan.json", folder / "told.json"],
        env=environment, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return {"options": request.param, **json.loads((folder / "told.json").read_text())}


def test_the_most_probable_texts_are_those_of_transformers(told, model):
    prompts = make_prompts()
    settings = EngineSettings(model, "", END, tuple(FORBIDDEN), 0.9, 1e-6, 20, 7, device="cpu")
    planned = [Generation(row, row % 3) for row in range(len(prompts))]
    texts = TransformersEngine(settings).write(planned, list(map(np.array, prompts)))
    expected = [[text.tokens.tolist(), text.finished] for text in texts]
    assert len({tuple(tokens) for tokens, _ in expected}) > 10 and {done for _, done in expected} == {True, False}
    assert ties(model, prompts, expected, told["greedy"], forbidden=FORBIDDEN, tie=TIE) <= MOST_TIES


def test_sampled_tokens_have_the_probabilities_of_the_nucleus(told, model):
    drawn = Counter(tokens[0] if tokens else END for tokens, _ in told["drawn"])
    logits = logits_after(model, make_prompts()[0], FORBIDDEN)
    assert nucleus_pvalue(logits, drawn, 0.9, 0.95) > SIGNIFICANCE


def test_a_forbidden_token_never_comes_however_probable(told):
    """Drafted from n-grams or not: vLLM takes other ways to forbid a token then."""
    for name in ("greedy", "sampled", "alone", "drawn"):
        assert not {token for tokens, _ in told[name] for token in tokens} & {END, *FORBIDDEN}, name


def test_a_text_is_the_same_in_another_batch(told):
    """To the last token with batch-invariant kernels; with others, rounding may decide where two are as probable."""
    same = sum(one == other for one, other in zip(told["sampled"], told["alone"], strict=True))
    least = {"invariant": 40, "speculative": 0}.get(told["options"], 36)
    assert len(told["sampled"]) == 40 and same >= least


def test_a_shard_that_is_killed_and_started_again_has_every_generation_once(told):
    if "shard" not in told:
        return  # once is enough
    shard = told["shard"]
    assert shard["died"] and shard["done"] and shard["left"] == []
    rows = shard["rows"]
    assert len(rows) == len({row["id"] for row in rows}) == 120
    # Of those on disk none is asked for again.
    assert 0 < shard["kept"] < 120 and len(shard["again"]) == 120 - shard["kept"] == len(set(shard["again"]))
