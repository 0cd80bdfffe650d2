"""vLLM as a library, as far as it is not needed for it."""

from __future__ import annotations

import importlib.util

import pytest

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.base.vllm_library import CPU_CACHE_BYTES, device_arguments, explained, import_vllm


@pytest.mark.parametrize(
    ("cpu", "memory", "eager", "expected"),
    [
        (False, None, None, {"enforce_eager": False}),
        (False, 0.5, True, {"enforce_eager": True, "gpu_memory_utilization": 0.5}),
        (True, None, None, {"enforce_eager": True, "kv_cache_memory_bytes": CPU_CACHE_BYTES}),
        (True, 0.2, False, {"enforce_eager": False, "gpu_memory_utilization": 0.2}),
    ],
)
def test_arguments_of_a_device(monkeypatch, cpu, memory, eager, expected):
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    assert device_arguments(cpu, memory, eager) == expected


def test_vllms_own_variable_for_its_cache_counts(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert device_arguments(True, None, None) == {"enforce_eager": True}


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        RuntimeError("CUDA out of\n memory"),
        ValueError("No available memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_short_memory_names_the_key(raised):
    with pytest.raises(InputError, match=r"'a.key': vLLM does not have enough memory .*; lower it") as found:
        with explained("did not start", "lower it", "a.key"):
            raise raised
    assert found.value.__cause__ is raised


def test_anything_else_is_a_fault_and_ours_pass():
    with pytest.raises(Fault, match="vLLM did not start: no such kernel"):
        with explained("did not start", "", ""):
            raise RuntimeError("no such\nkernel")
    with pytest.raises(InputError, match=r"^mine$"):
        with explained("did not start", "", ""):
            raise InputError("mine")


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is here")
def test_without_vllm_the_key_of_another_interpreter_is_named():
    with pytest.raises(InputError, match=r"'e': vLLM is not installed in .*`a.python` names an .*; b runs"):
        import_vllm({}, "a.python", "b runs", "e")
