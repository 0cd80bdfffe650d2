"""The entry point of every training run: Megatron's own `pretrain()` with our datasets.

    python -m megatron_sbp.training.pretrain --sbp-data models/sbp/data.json [Megatron flags]

Started once per rank, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set (torchrun does, and
rank.sh). All flags but --sbp-* are Megatron's. On a machine without a GPU it runs on CPU ranks over gloo.

SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 lead to a checkpoint. Exit status: 0 when training is complete; 3
(UNFINISHED) when it saved a checkpoint and stopped early because of a signal or --exit-duration-in-mins, and should
be started again; 2 for wrong input; anything else is a crash.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base.collector import collect_as_usual, collect_rarely
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import die_with_parent, short_socket_paths
from megatron_sbp.checkpoint.model_folder import CACHE, STOPPED
from megatron_sbp.training.megatron import checkpoint_processes, rank_end
from megatron_sbp.training.megatron.model_builder import choose_builder, model_config
from megatron_sbp.training.megatron.stop_signals import StopSignals
from megatron_sbp.training.rank_flags import add_arguments, flag_missing, machine_flags, process_options

if TYPE_CHECKING:
    from megatron_sbp.training.data.data_file import DataFile


UNFINISHED = 3
"""Exit status of a training run that saved a checkpoint and stopped before its end."""


def _quiet() -> None:
    """Drops library messages about missing optional packages; the start-up block says what matters."""
    warnings.filterwarnings("ignore")
    for name in ("megatron.core", "megatron.training", "torch.distributed", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Has imports do without a package: W&B's takes a seventh of a rank's start, and Megatron needs none of it."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


def _take_own_device() -> None:
    """Where Slurm gives every task of a node a GPU of its own and hides the others, it is each task's first.

    Megatron takes the GPU by the number of the rank on its node.
    """
    import torch

    if torch.cuda.device_count() == 1:
        os.environ["LOCAL_RANK"] = "0"


@contextlib.contextmanager
def _checks_of_megatron() -> Iterator[None]:
    """Makes an InputError of what Megatron says about arguments that do not fit together.

    Megatron asserts much of what users can get wrong, often without a message.
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, AssertionError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(str(error) or f"Megatron requires: {where.line}") from error


def _check(args: Namespace, data: DataFile) -> None:
    """Raises InputError for combinations that cannot work."""
    if data.kind == "pairs" and args.context_parallel_size > 1:
        raise InputError(
            f"--context-parallel-size {args.context_parallel_size} cannot train on packed pairs: it would cut them "
            "apart. Leave it out for the tuning"
        )


def main() -> int:
    """Runs one rank; returns the exit status."""
    signals = StopSignals()
    collect_rarely()
    options, _ = process_options(sys.argv[1:])
    if options.sbp_die_with_parent or "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent()
    short_socket_paths()
    rank_end.prepare()
    rank_end.prepare_loaders()
    _quiet()
    from megatron_sbp.training.megatron import cpu

    on_cpu = cpu.install(device=options.sbp_device)
    if not on_cpu:
        _take_own_device()
    sys.argv += machine_flags(on_cpu)
    with _hidden("wandb") if flag_missing("--wandb-project") else contextlib.nullcontext():
        import megatron.core.datasets.helpers_cpp  # noqa: F401  the wheel carries it ready built
        import megatron.core.datasets.utils as dataset_utils
        import megatron.training.training as training
    import torch
    from megatron.core.enums import ModelType
    from megatron.training import pretrain
    from megatron.training.argument_utils import pretrain_cfg_container_from_args

    from megatron_sbp.base import files
    from megatron_sbp.checkpoint import tracker
    from megatron_sbp.training.data.data_file import DataFile, lock
    from megatron_sbp.training.early_stopping import END_OF_PLAN
    from megatron_sbp.training.megatron import optimizer_resume, state, vocabulary
    from megatron_sbp.training.megatron.banner import StartupBanner
    from megatron_sbp.training.megatron.forward import PretrainCallbacks
    from megatron_sbp.training.megatron.hooks import LoopHooks

    dataset_utils.compile_helpers = lambda: None  # would run `make` in the wheel's folder, which has no makefile
    optimizer_resume.repair()
    state.take_tokenizer_from(vocabulary.build_tokenizer)
    if on_cpu:
        cpu.fork_checkpoint_queue()
    else:
        checkpoint_processes.prepare_saving()
    if "--async-save" in sys.argv:
        checkpoint_processes.prepare_asynchronous_saving(options.sbp_device)
    training.initialize_megatron = partial(training.initialize_megatron, allow_no_cuda=on_cpu)
    first_rank = int(os.environ.get("RANK", "0")) == 0
    try:
        with _checks_of_megatron():
            args = state.parse_arguments(add_arguments)
        if on_cpu:
            cpu.refuse_gpu_flags(args)
        data = DataFile.read(args.sbp_data)
        choose_builder(args, on_cpu)
        _check(args, data)
        callbacks = PretrainCallbacks(args, data)
        with _checks_of_megatron():
            model = model_config(args)
        own = args.load is not None and Path(args.load).resolve() == callbacks.folder.resolve()
        # Megatron cannot train with no sample left; a start that was cut off only lacks its last evaluation.
        args.skip_train |= own and (tracker.peek(callbacks.folder) or 0) * args.global_batch_size >= args.train_samples
        if first_rank:
            resumed = own and tracker.read(callbacks.folder) is not None
            lock(args.sbp_data, resumed)
            if not resumed:  # Megatron knows its indices by the path of the data, whatever it holds now
                shutil.rmtree(callbacks.folder / CACHE / "joint", ignore_errors=True)
    except InputError as error:
        if first_rank:
            print(f"sbp: error: {error}", file=sys.stderr, flush=True)
        return 2
    loop = LoopHooks(callbacks, signals, StartupBanner(callbacks, on_cpu))
    loop.attach(training)
    if on_cpu:
        # gloo may still be reading an output that Megatron has given up: with virtual stages activations were wrong.
        model.transformer.deallocate_pipeline_outputs = False
    status = 0
    collect_as_usual()
    try:
        pretrain(
            pretrain_cfg_container_from_args(args, model),
            callbacks.datasets,
            ModelType.encoder_or_decoder,
            callbacks.forward_step,
        )
    except SystemExit as left:  # Megatron leaves its loop early by sys.exit()
        status = int(left.code or 0)
        if status == 0 and not loop.stopped:
            # A stop in the last step leaves out the evaluation after it: the next start does that alone.
            done = loop.evaluated * args.global_batch_size >= args.train_samples
            status = 0 if done else UNFINISHED
    except InputError as error:
        print(f"sbp: error: {error}", file=sys.stderr, flush=True)
        return 2
    loop.flush_boards()
    if status == 0 and loop.evaluation_cut_off:
        status = UNFINISHED
    if status == 0 and loop.last_rank():
        files.write_text(callbacks.folder / STOPPED, loop.stopped or END_OF_PLAN)
    if status == UNFINISHED and "TORCHELASTIC_RUN_ID" in os.environ:
        status = 0  # torchrun would treat anything else as a crash; the launcher sees that stopped.txt is missing
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return status


if __name__ == "__main__":
    rank_end.run_to_end(main)
