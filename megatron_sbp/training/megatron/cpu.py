"""CPU backend: lets megatron.training.pretrain run on CPU ranks over gloo, unchanged.

Megatron uses `torch.cuda` by name in many places. `install()` gives those names a CPU meaning, once per process
and only where no GPU is found; on a GPU it does nothing. It must run before anything of `megatron.training` is
imported. Every name that is replaced inside Megatron is listed in MEGATRON_NAMES, and a test checks that Megatron still
has it.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import inspect
import multiprocessing
import os
import queue
import sys
import types
from argparse import Namespace
from collections.abc import Callable
from multiprocessing.managers import SyncManager
from typing import Any

import torch
from torch.utils._device import _device_constructors

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import die_with_parent

CPU = torch.device("cpu")

MEGATRON_NAMES = (
    ("megatron.training.training", "initialize_megatron"),
    ("megatron.core.datasets.utils", "compile_helpers"),
    ("megatron.core.dist_checkpointing.strategies.filesystem_async", "get_write_results_queue"),
    ("megatron.training.global_vars", "build_tokenizer"),
    ("megatron.core.tokenizers.utils.build_tokenizer", "vocab_size_with_padding"),
)
"""Names inside Megatron that this backend or the entry point replaces or uses: (module, attribute)."""

REFUSED_ON_CPU = {
    "context_parallel_size": (1, "context parallelism needs Transformer Engine's attention"),
    "sequence_parallel": (False, "sequence parallelism needs Transformer Engine's normalization layers"),
    "fp8": (None, "fp8 needs Transformer Engine on a GPU"),
    "fp16": (False, "fp16 has no CPU kernels worth using; take bf16 or fp32"),
    "use_megatron_fsdp": (False, "Megatron FSDP needs CUDA streams"),
    "cuda_graph_impl": ("none", "CUDA graphs need CUDA"),
    "overlap_p2p_comm_warmup_flush": (False, "overlapped pipeline communication needs CUDA streams"),
}
"""Megatron arguments that need a GPU: the value that is allowed on CPU, and the reason."""


def available(device: str) -> bool:
    """Whether this process must run on the CPU: there is no GPU, or the device is cpu.

    Args:
        device: auto, cpu, or cuda.

    Raises:
        RuntimeError: cuda, and there is no GPU. On one node of many, the others would wait for its ranks.
    """
    if device != "cpu" and torch.cuda.is_available():
        return False
    if device == "cuda":
        raise RuntimeError("launch.device is cuda, but torch finds no CUDA device here")
    return True


def refuse_gpu_flags(args: Namespace) -> None:
    """Raises InputError for Megatron arguments that cannot work on a CPU, with the reason."""
    for name, (allowed, reason) in REFUSED_ON_CPU.items():
        value = getattr(args, name, allowed)
        if value != allowed and value not in (None, False):
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag} {value} cannot run on a CPU: {reason}. Leave it out, or run on a GPU.")


def _replace_devices() -> None:
    """Reads 'cuda' as 'cpu' wherever a device is named, and answers Tensor.type() as a CUDA build would.

    The functions that take a device are replaced, rather than all of torch watched by a TorchFunctionMode: that one
    calls Python at every operation, a fifth of a small model's training step.
    """
    tensor = torch.Tensor
    constructors = _device_constructors()  # cached: `with torch.device(...)` compares with these
    for name in dir(torch):
        function = getattr(torch, name)
        if name.endswith("_like") or any(function is constructor for constructor in constructors):
            setattr(torch, name, _on_cpu(function))
    for name in dir(tensor):
        if name.startswith("new_"):
            setattr(tensor, name, _on_cpu(getattr(tensor, name)))
    tensor.cuda = lambda self, *args, **kwargs: self
    tensor.pin_memory = lambda self, *args, **kwargs: self
    move, type_of = tensor.to, tensor.type

    @functools.wraps(move)
    def to(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if args and _names_cuda(args[0]):
            args = (CPU, *args[1:])
        if _names_cuda(kwargs.get("device")):
            kwargs["device"] = CPU
        return move(self, *args, **kwargs)

    @functools.wraps(type_of)
    def type_(self: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor | str:
        result = type_of(self, *args, **kwargs)
        # Gradient clipping and the optimizers compare type names with 'torch.cuda.FloatTensor'.
        return result if args or kwargs else result.replace("torch.", "torch.cuda.")

    tensor.to, tensor.type = to, type_


def _on_cpu[**P, Result](function: Callable[P, Result]) -> Callable[P, Result]:
    """The function, for which a CUDA device is the CPU and nothing is pinned."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        if _names_cuda(kwargs.get("device")):
            kwargs["device"] = CPU
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return function(*args, **kwargs)

    return call


def _names_cuda(device: object) -> bool:
    if isinstance(device, bool):
        return False
    if isinstance(device, int):
        return True
    if isinstance(device, torch.device):
        return device.type == "cuda"
    return isinstance(device, str) and device.startswith("cuda")


class _Nothing:
    """Stand-in for streams and events: everything happens at once."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: object) -> float:
        return 0.0


_installed = False


def install(*, device: str) -> bool:
    """Installs the backend when there is no GPU, or the device is cpu.

    Args:
        device: auto, cpu, or cuda.

    Returns:
        Whether this process runs on the CPU.

    Raises:
        RuntimeError: cuda, and there is no GPU.
    """
    global _installed
    if not available(device):
        return False
    if _installed:
        return True
    # Megatron binds some of these names on import: a model would then start with different weights.
    assert "megatron.training.training" not in sys.modules, "install the CPU backend before megatron.training"
    _installed = True
    _replace_devices()
    _replace_cuda_names()
    _replace_process_groups()
    # Megatron compiles its small fused functions: on a CPU that costs the import of the compiler at every start, a
    # third of it, and a C++ compiler at run time, for functions that take next to no time.
    torch.compile = lambda function=None, **options: function or (lambda inner: inner)
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    return True


def _replace_cuda_names() -> None:
    cuda = torch.cuda
    ranks_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cuda.device_count = lambda: ranks_here  # with 0, initialize_model_parallel is skipped silently
    cuda.current_device = lambda: 0
    for name in (
        "set_device",
        "synchronize",
        "manual_seed",
        "manual_seed_all",
        "empty_cache",
        "reset_peak_memory_stats",
    ):
        setattr(cuda, name, lambda *args, **kwargs: None)
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        setattr(cuda, name, lambda *args, **kwargs: 0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cuda.memory_stats = lambda *args, **kwargs: collections.defaultdict(int)
    cuda.mem_get_info = lambda *args, **kwargs: (memory, memory)
    cuda.get_device_properties = lambda *args, **kwargs: types.SimpleNamespace(
        name="cpu", major=9, minor=0, total_memory=memory, multi_processor_count=1
    )
    cuda.get_device_capability = lambda *args, **kwargs: (9, 0)
    cuda.get_device_name = lambda *args, **kwargs: "cpu"
    cuda.Stream = cuda.Event = _Nothing
    cuda.stream = lambda stream: contextlib.nullcontext()
    cuda.current_stream = cuda.default_stream = lambda *args, **kwargs: _Nothing()
    cuda.nvtx.range_push = cuda.nvtx.range_pop = lambda *args, **kwargs: None
    # Megatron keeps its model-parallel random streams in the "CUDA" generator: that is the CPU's here.
    cuda._lazy_init = lambda: None
    cuda._lazy_call = lambda function, **kwargs: function()
    cuda.default_generators = (torch.default_generator,)
    for module in (cuda, torch.cuda.random):
        module.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
        module.set_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)
    for name in ("Float", "Int", "Long", "Half", "BFloat16", "Double", "Byte", "Bool"):
        setattr(cuda, f"{name}Tensor", getattr(torch, f"{name}Tensor"))


def fork_checkpoint_queue() -> None:
    """Lets the first checkpoint start its queue by fork, at once: spawn imports torch again, seconds on every rank.

    Spawn is there for CUDA, which does not survive a fork. The process that serves the queue dies with its rank.
    """
    module: Any = importlib.import_module(  # Any: a function of it is replaced
        "megatron.core.dist_checkpointing.strategies.filesystem_async"
    )
    queues: list[tuple[SyncManager, queue.Queue[object]]] = []

    def get_write_results_queue(mp_mode: str = "fork") -> queue.Queue[object]:
        if not queues:
            manager = SyncManager(ctx=multiprocessing.get_context("fork"))
            manager.start(die_with_parent)
            queues.append((manager, manager.Queue()))  # without its manager the queue would end
        return queues[0][1]

    module.get_write_results_queue = get_write_results_queue


def _replace_process_groups() -> None:
    def on_gloo[Result](function: Callable[..., Result]) -> Callable[..., Result]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: object, **kwargs: object) -> Result:
            given = dict(signature.bind_partial(*args, **kwargs).arguments)
            for name in ("device_id", "pg_options"):  # NCCL's
                given.pop(name, None)
            return function(**{**given, "backend": "gloo"})

        return call

    torch.distributed.init_process_group = on_gloo(torch.distributed.init_process_group)
    torch.distributed.new_group = on_gloo(torch.distributed.new_group)
