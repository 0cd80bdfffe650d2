"""Megatron's global state: the one module that reads it.

The parallel layout (`megatron.core.parallel_state`), the arguments, and the writers of TensorBoard and Weights & Biases
are global in Megatron 0.19; upstream is gradually replacing them with objects that are passed explicitly. The rest of
this package accesses them only through this module, which tests/training/megatron/test_state.py checks. The groups and
ranks exist once Megatron has set up its process groups.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from megatron.core import parallel_state
from torch.distributed import ProcessGroup

if TYPE_CHECKING:
    from megatron.core.tokenizers import MegatronTokenizer
    from torch.utils.tensorboard import SummaryWriter


class Writers(NamedTuple):
    """Metric writers enabled by Megatron's flags, on the last rank; None if not enabled."""

    tensorboard: SummaryWriter | None
    """torch's SummaryWriter."""
    wandb: ModuleType | None
    """The module wandb, with an active run."""


def parse_arguments(add_arguments: Callable[[ArgumentParser], ArgumentParser]) -> Namespace:
    """Megatron's arguments of this process, checked by Megatron; they become its global arguments.

    Megatron also stores the state of its loop in this namespace (`iteration`, `consumed_train_samples`), so these
    values change during training.

    Args:
        add_arguments: adds this package's arguments to Megatron's parser and returns it.
    """
    from megatron.training.arguments import parse_and_validate_args

    return parse_and_validate_args(extra_args_provider=add_arguments)


def take_tokenizer_from(builder: Callable[[Namespace], MegatronTokenizer]) -> None:
    """Makes Megatron's startup get its global tokenizer from `builder`, which receives the arguments."""
    from megatron.training import global_vars

    global_vars.build_tokenizer = builder


def writers() -> Writers:
    """The writers of this rank."""
    from megatron.training.global_vars import get_tensorboard_writer, get_wandb_writer

    return Writers(get_tensorboard_writer(), get_wandb_writer())


def is_first_stage(virtual_stage: int | None) -> bool:
    """Whether a model chunk of this rank begins with the embedding.

    Args:
        virtual_stage: the chunk's number on this rank; None without virtual stages.
    """
    return parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=virtual_stage)


def is_last_stage(virtual_stage: int | None) -> bool:
    """Whether a model chunk of this rank ends with the loss.

    Args:
        virtual_stage: the chunk's number on this rank; None without virtual stages.
    """
    return parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=virtual_stage)


def runs_again() -> bool:
    """Whether Megatron repeats the passes of a step before updating weights, because a result was suspicious."""
    from megatron.core.rerun_state_machine import RerunState, get_rerun_state_machine

    return get_rerun_state_machine().state == RerunState.RERUNNING_IN_PLACE


def has_losses() -> bool:
    """Whether one of this rank's model chunks ends with the loss."""
    return parallel_state.is_pipeline_last_stage(ignore_virtual=True)


def is_first_of_tensor_and_context() -> bool:
    """Whether this rank represents the ranks that compute other parts of the same sequences."""
    return parallel_state.get_tensor_model_parallel_rank() == 0 and parallel_state.get_context_parallel_rank() == 0


def data_rank() -> int:
    """This rank's index among those that read different samples."""
    return parallel_state.get_data_parallel_rank()


def data_group() -> ProcessGroup:
    """The ranks that hold the same parameters: data-parallel and context-parallel."""
    return parallel_state.get_data_parallel_group(with_context_parallel=True)


def model_group() -> ProcessGroup:
    """The ranks that hold one copy of the model together."""
    return parallel_state.get_model_parallel_group()


def context_group() -> ProcessGroup:
    """The ranks that hold parts of the same sequences."""
    return parallel_state.get_context_parallel_group()


def tensor_group() -> ProcessGroup:
    """The ranks that hold parts of the same tensors."""
    return parallel_state.get_tensor_model_parallel_group()
