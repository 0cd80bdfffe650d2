"""The processes in which Megatron writes checkpoints: stop signals do not reach them, and they end with their rank."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import queue
import signal
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from megatron_sbp.training.megatron.stop_signals import ASKING


def prepare_saving() -> None:
    """Called before the first checkpoint on GPUs, where Megatron spawns a process to collect its writers' results.

    Unlike a rank's forked processes, it would be killed by a stop signal that a scheduler sends to all processes of a
    task, and the requested checkpoint would fail. It inherits the blocked signals.
    """
    module: Any = importlib.import_module(  # Any: a function of it is replaced
        "megatron.core.dist_checkpointing.strategies.filesystem_async"
    )
    megatrons = module.get_write_results_queue

    def get_write_results_queue(mp_mode: str = "spawn") -> queue.Queue[object]:
        with _blocked_signals():
            return megatrons(mp_mode)

    module.get_write_results_queue = get_write_results_queue


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Processes started inside the block inherit the blocked signals."""
    multiprocessing.resource_tracker.ensure_running()  # first: it unblocks signals
    former = signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def prepare_asynchronous_saving(device: str) -> None:
    """Called before Megatron starts its checkpoint writer, which multiprocessing's fork server forks.

    The server and its children inherit the blocked signals: a scheduler that signals every process of a job step would
    end the writer in the middle of a checkpoint. The writer gets a thread that ends it together with its rank.

    Args:
        device: of the rank: auto, cpu, or cuda.
    """
    from megatron.core.dist_checkpointing.strategies.async_utils import PersistentAsyncCaller

    with _blocked_signals():
        multiprocessing.forkserver.ensure_running()
    PersistentAsyncCaller.async_loop = staticmethod(partial(checkpoint_writer, device))


def checkpoint_writer(device: str, *arguments: object) -> None:
    """Megatron's asynchronous checkpoint writer in a separate process, which ends with its rank."""
    threading.Thread(target=_end_with_rank, daemon=True).start()  # first: the imports take seconds
    from megatron_sbp.training.megatron import cpu

    cpu.install(device=device)
    from megatron.core.dist_checkpointing.strategies.async_utils import PersistentAsyncCaller

    PersistentAsyncCaller.async_loop(*arguments)


def _end_with_rank() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
