"""What texts follow from: another checkpoint, seed or setting is another identity, another place is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from megatron_sbp.recipe import Vllm
from megatron_sbp.synthesis.engine import EngineSettings

USUAL = EngineSettings(Path("/a"), "ab" * 32, 0, (1, 2), 1.0, 0.9, 50, seed=1)


def test_the_place_of_the_checkpoint_does_not_count():
    assert dataclasses.replace(USUAL, checkpoint=Path("/b")).identity() == USUAL.identity()
    json.dumps(USUAL.identity())


@pytest.mark.parametrize(
    ("field", "value"),
    [("weights", "cd" * 32), ("end_of_document", 3), ("forbidden", (1,)), ("temperature", 0.9), ("top_p", 1.0),
     ("max_new_tokens", 51), ("seed", 2), ("precision", "bf16"), ("device", "cuda")],
)  # fmt: skip
def test_everything_else_does(field, value):
    assert dataclasses.replace(USUAL, **{field: value}).identity() != USUAL.identity()


def test_of_vllm_count_the_options_that_change_a_text():
    usual = dataclasses.replace(USUAL, vllm=Vllm())
    assert usual.identity() != USUAL.identity() and "vllm" not in USUAL.identity()
    assert hash(usual) == hash(dataclasses.replace(USUAL, vllm=Vllm()))  # load_engine keeps one
    batches = {"python": "/x", "max_num_seqs": 8, "gpu_memory": 0.5, "prefix_caching": False, "chunked_prefill": True}
    texts = {"tensor_parallel": 2, "eager": True, "batch_invariant": True, "speculative_tokens": 3}
    assert {*batches, *texts} == set(Vllm.model_fields)
    for key, value in batches.items():
        assert dataclasses.replace(USUAL, vllm=Vllm(**{key: value})).identity() == usual.identity(), key
    for key, value in texts.items():
        assert dataclasses.replace(USUAL, vllm=Vllm(**{key: value})).identity() != usual.identity(), key
    json.dumps(usual.identity())


def test_rows_name_weights_and_sampling():
    sampling = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": USUAL.max_new_tokens, "precision": "fp32"}
    assert USUAL.provenance() == {"synthesizer": "ab" * 32, **sampling, "engine": "transformers"}
    assert dataclasses.replace(USUAL, vllm=Vllm()).provenance()["engine"] == "vllm"
