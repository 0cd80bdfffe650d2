"""What vLLM is told, from the recipe; vLLM itself is not needed for it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.vllm_library import CPU_CACHE_BYTES
from megatron_sbp.recipe import Vllm
from megatron_sbp.synthesis.engine import EngineSettings
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.token_sampling import stream_keys
from megatron_sbp.synthesis.vllm_arguments import (
    engine_arguments,
    environment,
    lowered_arguments,
    request_arguments,
    request_seed,
)

USUAL = EngineSettings(Path("/model"), "ab" * 32, 0, (1, 2), 0.8, 0.9, 50, seed=1, vllm=Vllm())


@pytest.fixture(autouse=True)
def no_variable_of_the_shell(monkeypatch):
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)


def of(**options) -> EngineSettings:
    return dataclasses.replace(USUAL, vllm=Vllm(**options))


def test_the_recipe_decides_on_batch_invariance_and_not_the_shell():
    assert environment(Vllm())["VLLM_BATCH_INVARIANT"] == "0"
    assert environment(Vllm(batch_invariant=True))["VLLM_BATCH_INVARIANT"] == "1"
    assert environment(Vllm())["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_the_checkpoint_is_loaded_in_the_precision_of_the_recipe_without_its_sampling_defaults(precision, dtype):
    found = engine_arguments(dataclasses.replace(USUAL, precision=precision), cpu=False)
    assert (found["model"], found["dtype"]) == ("/model", dtype)
    assert found["generation_config"] == "vllm" and found["skip_tokenizer_init"]


def test_a_gpu_reads_long_prompts_in_parts_and_compiles_unless_the_recipe_says_otherwise():
    found = engine_arguments(USUAL, cpu=False)
    assert found["enable_chunked_prefill"] and not found["enforce_eager"] and found["enable_prefix_caching"]
    assert not {"kv_cache_memory_bytes", "max_num_seqs", "gpu_memory_utilization", "speculative_config"} & set(found)
    chosen = of(chunked_prefill=False, eager=True, prefix_caching=False, tensor_parallel=4)
    found = engine_arguments(chosen, cpu=False)
    assert not found["enable_chunked_prefill"] and found["enforce_eager"] and not found["enable_prefix_caching"]
    assert found["tensor_parallel_size"] == 4


def test_a_cpu_does_neither():
    found = engine_arguments(USUAL, cpu=True)
    assert not found["enable_chunked_prefill"] and found["enforce_eager"]
    assert not engine_arguments(of(eager=False), cpu=True)["enforce_eager"]


def test_keys_and_values_on_a_cpu_take_a_gibibyte_unless_someone_chose(monkeypatch):
    assert engine_arguments(USUAL, cpu=True)["kv_cache_memory_bytes"] == CPU_CACHE_BYTES == 2**30
    by_recipe = engine_arguments(of(gpu_memory=0.5), cpu=True)
    assert by_recipe["gpu_memory_utilization"] == 0.5 and "kv_cache_memory_bytes" not in by_recipe
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert "kv_cache_memory_bytes" not in engine_arguments(USUAL, cpu=True)


def test_limits_of_batch_and_memory_are_passed_on():
    found = engine_arguments(of(max_num_seqs=8, gpu_memory=0.7), cpu=False)
    assert (found["max_num_seqs"], found["gpu_memory_utilization"]) == (8, 0.7)


def test_guessing_ahead_is_told_to_the_engine():
    found = engine_arguments(of(speculative_tokens=3), cpu=False)["speculative_config"]
    assert found["method"] == "ngram" and found["num_speculative_tokens"] == 3
    assert found["prompt_lookup_min"] <= found["prompt_lookup_max"]


@pytest.mark.parametrize(
    ("options", "key"),
    [({"chunked_prefill": True}, "chunked_prefill"), ({"speculative_tokens": 2}, "speculative_tokens")],
)
def test_what_the_build_for_cpus_cannot_do_is_refused_by_its_key(options, key):
    with pytest.raises(InputError, match="remove this key") as found:
        engine_arguments(of(**options), cpu=True)
    assert found.value.key == f"synthesis.vllm.{key}"
    engine_arguments(of(**options), cpu=False)


def test_a_temperature_that_vllm_takes_of_no_request_is_refused_before_the_weights_are_loaded():
    with pytest.raises(InputError, match="vLLM takes 2 at most, not 3") as found:
        engine_arguments(dataclasses.replace(USUAL, temperature=3.0), cpu=False)
    assert found.value.key == "synthesis.temperature"
    engine_arguments(dataclasses.replace(USUAL, temperature=2.0), cpu=False)


@pytest.mark.parametrize(("device", "cpu", "built"), [("cuda", True, "CPUs"), ("cpu", False, "GPUs")])
def test_a_build_for_the_other_device_is_refused(device, cpu, built):
    settings = dataclasses.replace(USUAL, device=device)
    with pytest.raises(InputError, match=f"built for {built}, and launch.device is {device}"):
        engine_arguments(settings, cpu)
    engine_arguments(settings, not cpu)
    engine_arguments(dataclasses.replace(USUAL, device="auto"), cpu)


@pytest.mark.parametrize("seed", [0, 5, 2**31, 2**63 - 1])
def test_the_seed_of_the_engine_is_one_that_torch_and_numpy_take(seed):
    found = engine_arguments(dataclasses.replace(USUAL, seed=seed), cpu=True)["seed"]
    assert 0 <= found < 2**31 and (found == seed or seed >= 2**31)


def test_a_request_is_sampled_as_the_recipe_says_and_ends_at_end_of_document():
    found = request_arguments(dataclasses.replace(USUAL, end_of_document=9))
    assert (found["temperature"], found["top_p"], found["max_tokens"]) == (0.8, 0.9, 50)
    assert found["stop_token_ids"] == [9] and found["detokenize"] is False


def test_forbidden_tokens_are_out_of_reach():
    assert request_arguments(USUAL)["logit_bias"] == {1: -math.inf, 2: -math.inf}
    # With guessing ahead vLLM takes no bias: the engine then bans these ids itself.
    assert "logit_bias" not in request_arguments(of(speculative_tokens=2))


def test_seeds_of_requests_fit_into_64_bits_with_a_sign_and_are_never_none():
    keys = stream_keys([Generation(row, number) for row in range(500) for number in range(4)], seed=1)
    seeds = [request_seed(key) for key in keys]
    assert len(set(seeds)) == 2000 and all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62, "the upper bits are used"
    assert request_seed(np.uint64(2**64 - 1)) == 2**63 - 1 and request_seed(np.uint64(6)) == 3


@pytest.mark.parametrize(
    ("arguments", "at_once", "reason", "expected"),
    [
        ({"max_num_seqs": 64}, 64, "CUDA out of memory", {"max_num_seqs": 32}),
        ({"dtype": "x"}, 1024, "CUDA out of memory", {"dtype": "x", "max_num_seqs": 512}),
        ({}, None, "CUDA out of memory", {"max_num_seqs": 128}),
        ({"max_num_seqs": 1}, 1, "CUDA out of memory", None),
        (
            {"max_num_seqs": 1}, 1,
            "Free memory on device cuda:0 (50.0/139.8 GiB) on startup is less than desired GPU memory utilization "
            "(0.92, 128.6 GiB). Decrease GPU memory utilization",
            {"max_num_seqs": 1, "gpu_memory_utilization": 0.69},
        ),
    ],
)  # fmt: skip
def test_another_start_with_less_in_memory(arguments, at_once, reason, expected):
    assert lowered_arguments(arguments, at_once, reason) == expected
