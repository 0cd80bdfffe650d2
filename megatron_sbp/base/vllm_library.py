"""vLLM as a library: importing it, and translating its errors."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from megatron_sbp.base.errors import Fault, InputError
from megatron_sbp.base.memory import is_out_of_memory
from megatron_sbp.base.untyped import JsonObject

if TYPE_CHECKING:
    from vllm import LLM

CPU_CACHE_BYTES = 1 << 30
"""KV cache size on a CPU, unless the recipe or vLLM's VLLM_CPU_KVCACHE_SPACE sets it."""

IN_ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
"""Runs the scheduler in the calling process: batches depend on the requests and not on the timing of two processes,
errors arrive with their cause, and nothing outlives a killed worker."""


class OutOfMemory(InputError):
    """vLLM does not have enough memory."""


_OUT_OF_MEMORY = ("out of memory", "available memory", "free memory", "memory for the cache", "kv cache", "bad_alloc")
"""Out-of-memory phrases in errors of vLLM and torch, in lower case."""


def import_vllm(environment: Mapping[str, str], python_key: str, instead: str, key: str) -> tuple[type[LLM], bool]:
    """The class `vllm.LLM`, and whether this vLLM is built for CPUs.

    Args:
        environment: variables to set before vLLM is imported.
        python_key: the recipe's key that names another interpreter.
        instead: the alternative without vLLM: `synthesis.engine=transformers runs anywhere`.
        key: of the recipe, for the error.

    Raises:
        InputError: vLLM is not installed.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.update(environment)
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise InputError(
            f"vLLM is not installed in {sys.prefix} (pip install vllm, or `{python_key}` names an environment that has "
            f"it); {instead}",
            key=key,
        ) from error
    _let_vllm_look_around()
    return LLM, bool(current_platform.is_cpu())


def device_arguments(cpu: bool, gpu_memory: float | None, eager: bool | None) -> JsonObject:
    """Arguments of `vllm.LLM` for memory and kernels.

    Args:
        cpu: whether vLLM is built for CPUs.
        gpu_memory: share of the memory to use; None for vLLM's default on GPUs, and `CPU_CACHE_BYTES` on CPUs.
        eager: without compiled kernels and CUDA graphs; None does so on CPUs.
    """
    arguments: JsonObject = {"enforce_eager": cpu if eager is None else eager}
    if gpu_memory is not None:
        arguments["gpu_memory_utilization"] = gpu_memory
    elif cpu and not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
        arguments["kv_cache_memory_bytes"] = CPU_CACHE_BYTES  # vLLM's default is nine tenths of the machine
    return arguments


@contextlib.contextmanager
def explained(what: str, memory_advice: str, memory_key: str) -> Iterator[None]:
    """Turns vLLM's exceptions into one message.

    Args:
        what: what vLLM did: `did not start`.
        memory_advice: what to do when out of memory.
        memory_key: of the recipe, for that error.

    Raises:
        OutOfMemory: out of memory.
        Fault: anything else.
    """
    try:
        yield
    except (InputError, Fault):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if is_out_of_memory(error) or any(words in reason.lower() for words in _OUT_OF_MEMORY):
            message = f"vLLM does not have enough memory ({reason[:400]}); {memory_advice}"
            raise OutOfMemory(message, key=memory_key) from error
        raise Fault(f"vLLM {what}: {reason[:1000]}") from error


def _let_vllm_look_around() -> None:
    """Without a GPU, vLLM searches the attributes of every module for kernels. Numba's LLVM binding mistakes the lookup
    of its `__dict__` for that of an LLVM function, and vLLM 0.32 crashes on the result."""
    module = sys.modules.get("llvmlite.binding.ffi")
    functions = getattr(getattr(module, "lib", None), "_fntab", None)
    if isinstance(functions, dict):
        functions.setdefault("__dict__", {})
