"""The entry point of every training: Megatron's own `pretrain()` with our datasets.

    python -m megatron_sbp.training.pretrain --sbp-data models/sbp/data.json [Megatron flags]

Started once per rank, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set (torchrun does, and
slurm/rank.sh). All flags but --sbp-* are Megatron's. On a machine without a GPU it runs on CPU ranks over gloo.

Exit status: 0 when the training is complete; 3 (UNFINISHED) when it saved a checkpoint and stopped early because of a
signal or --exit-duration-in-mins, and wants to be started again; 2 for wrong input; anything else is a crash.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from megatron_sbp.processes import die_with_parent

UNFINISHED = 3
"""Exit status of a training that saved a checkpoint and stopped before its end."""


def _quiet() -> None:
    """Drops what libraries say about optional packages that are not here; the start-up block says what matters."""
    warnings.filterwarnings("ignore")
    for name in ("megatron.core", "megatron.training", "torch.distributed", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _flag_missing(*flags: str) -> bool:
    return not any(word.split("=")[0] in flags for word in sys.argv)


def _machine_flags(on_cpu: bool) -> list[str]:
    """Megatron flags that depend on what is installed here, unless the user gave them."""
    added: list[str] = []
    has_te = importlib.util.find_spec("transformer_engine") is not None and not on_cpu
    has_apex = importlib.util.find_spec("amp_C") is not None and not on_cpu
    if not has_te and _flag_missing("--transformer-impl"):
        added += ["--transformer-impl", "local", "--no-persist-layer-norm"]
    if not (has_apex or has_te):
        added += ["--no-gradient-accumulation-fusion"]
    if on_cpu:
        added += ["--distributed-backend", "gloo", "--use-cpu-initialization", "--no-masked-softmax-fusion"]
        added += ["--no-bias-swiglu-fusion", "--no-rope-fusion", "--rerun-mode", "disabled"]
    return added


def _add_arguments(parser):
    group = parser.add_argument_group(title="synthetic bootstrapped pretraining")
    group.add_argument("--sbp-data", type=Path, required=True, help="data.json that `sbp` wrote: datasets and samples")
    group.add_argument("--sbp-patience", type=int, default=0, help="evaluations without a better loss before stopping")
    group.add_argument("--sbp-first-evaluation", action="store_true", help="evaluate before the first step, too")
    return parser


class Trainer:
    """Our side of Megatron's loop: forward step, datasets, and what is written down while it runs."""

    def __init__(self, args: Any):
        from megatron_sbp.training.metrics import Metrics

        self.args = args
        self.folder: Path = args.sbp_data.parent
        self.metrics = Metrics(self.folder / "metrics.jsonl")
        self.recorder: Any = None
        self.stopped = ""
        self._busy, self._losses, self._since = 0.0, list[float](), 0

    # -- what Megatron calls -----------------------------------------------------------------------------------------

    def datasets(self, num_samples, vp_stage=None):
        """Train, valid and test datasets; every rank builds its own, as megatron.training allows."""
        from megatron.core.tokenizers.utils.build_tokenizer import build_tokenizer

        from megatron_sbp.training.datasets import build_train, build_valid

        tokenizer = build_tokenizer(self.args)
        train = build_train(self.args.sbp_data, tokenizer, self.folder / "cache")
        # One evaluation more than Megatron counts: the one before the first step.
        valid = build_valid(self.args.sbp_data, tokenizer, num_samples[1] + self.args.global_batch_size * 10_000)
        return train, valid, None

    datasets.is_distributed = True  # type: ignore[attr-defined]

    def forward_step(self, data_iterator, model, return_schedule_plan=False):
        """One micro-batch through the model; returns its losses and the function that sums them up."""
        from megatron.core import mpu
        from megatron.core.utils import get_attr_wrapped_model

        stage = get_attr_wrapped_model(model, "vp_stage")
        last = mpu.is_pipeline_last_stage(ignore_virtual=False, vp_stage=stage)
        tokens = labels = mask = positions = segments = None
        if last or mpu.is_pipeline_first_stage(ignore_virtual=False, vp_stage=stage) or self._packed():
            batch = next(data_iterator)
            names = ("tokens", "labels", "loss_mask", "position_ids")
            tokens, labels, mask, positions = (batch[name].cuda(non_blocking=True) for name in names)
            segments = batch["segments"].cuda(non_blocking=True) if "segments" in batch else None
            if model.training and last and mpu.get_tensor_model_parallel_rank() == 0 and self.recorder:
                self.recorder.record(self.args.curr_iteration, batch["dataset_id"].numpy(), batch["sample"].numpy())
        losses = model(tokens, positions, segments, labels=labels)
        return losses, partial(self.loss, mask)

    def loss(self, mask, losses):
        """Sum of the losses where `mask` is 1, their number, and the pair of both for the log."""
        import torch

        mask = mask.view(-1).float()
        total = (losses.view(-1).float() * mask).sum()
        count = mask.sum()
        return total, count.detach().to(torch.int), {"lm loss": torch.stack([total.detach(), count.detach()])}

    def _packed(self) -> bool:
        """Whether every pipeline stage needs the batch, for the segments of packed pairs."""
        return self.data.kind == "pairs"

    # -- what we attach to it ----------------------------------------------------------------------------------------

    def attach(self, training) -> None:
        """Wraps functions of megatron.training.training; tests/training/test_pretrain.py checks their names."""
        import time

        train, evaluate, log = training.train, training.evaluate, training.training_log
        train_step = training.train_step

        def train_and_write(*args, **kwargs):
            self._begin()
            if self.args.sbp_first_evaluation and self.args.iteration == 0:
                forward_step, model, valid, config = args[0], args[1], args[5], args[7]
                training.evaluate_and_print_results("iteration 0", forward_step, valid, model, 0, None, config)
            return train(*args, **kwargs)

        def step_and_measure(*args, **kwargs):
            started = time.monotonic()
            result = train_step(*args, **kwargs)
            self._busy += time.monotonic() - started
            return result

        def evaluate_and_write(*args, **kwargs):
            result = evaluate(*args, **kwargs)
            if result[0] is not None:
                self._evaluated(result[0])
            return result

        def log_and_write(loss_dict, total_loss_dict, learning_rate, iteration, *args, **kwargs):
            grad_norm = args[3]  # after loss_scale, report_memory_flag and skipped_iter
            self._stepped(loss_dict, learning_rate, iteration, grad_norm)
            return log(loss_dict, total_loss_dict, learning_rate, iteration, *args, **kwargs)

        training.train, training.train_step = train_and_write, step_and_measure
        training.evaluate, training.training_log = evaluate_and_write, log_and_write

    def _begin(self) -> None:
        """Once per start, after the checkpoint was loaded: old rows after it are cut off, recording begins."""
        import torch
        from megatron.core import mpu

        from megatron_sbp.training import consumption

        if self._last_rank():
            (self.folder / "stopped.txt").unlink(missing_ok=True)
            self.metrics.rewind(self.args.iteration)
            consumption.rewind(self.folder / "consumed", self.args.iteration)
        torch.distributed.barrier()
        if mpu.is_pipeline_last_stage(ignore_virtual=True) and mpu.get_tensor_model_parallel_rank() == 0:
            self.recorder = consumption.Recorder(self.folder / "consumed", mpu.get_data_parallel_rank())
        self._busy, self._losses, self._since = 0.0, [], self.args.iteration

    def _stepped(self, loss_dict, learning_rate, iteration: int, grad_norm) -> None:
        if not self._last_rank():
            return
        value = loss_dict["lm loss"]
        self._losses.append(float(value[0] / value[1]) if value.numel() == 2 else float(value))
        steps = iteration - self._since
        if iteration % self.args.log_interval and iteration != self.args.train_iters:
            return
        samples = steps * self.args.global_batch_size
        self.metrics.append(
            {
                "kind": "train",
                **self._place(iteration),
                "loss": sum(self._losses) / len(self._losses),
                "learning_rate": learning_rate,
                "grad_norm": None if grad_norm is None else float(grad_norm),
                "tokens_per_second": samples * self.args.seq_length / self._busy,
                "seconds": self._busy,
            }
        )
        self._losses, self._since, self._busy = [], iteration, 0.0

    def _evaluated(self, losses) -> None:
        """Writes a validation row; all ranks decide together whether to stop."""
        import torch

        from megatron_sbp.training.early_stopping import exhausted, reason
        from megatron_sbp.training.metrics import read_metrics

        iteration = self.args.consumed_train_samples // self.args.global_batch_size
        stop = torch.zeros(1, dtype=torch.int, device="cuda")
        if self._last_rank():
            rows = read_metrics(self.metrics.path)
            # Megatron evaluates once more at the end; that repeats the last row.
            if not any(row["kind"] == "valid" and row["iteration"] == iteration for row in rows):
                row = {"kind": "valid", **self._place(iteration), "loss": float(losses["lm loss"])}
                self.metrics.append(row)
                rows.append(row)
            stop[0] = bool(self.args.sbp_patience) and exhausted(rows, self.args.sbp_patience)
        torch.distributed.broadcast(stop, torch.distributed.get_world_size() - 1)
        if stop.item() and iteration < self.args.train_iters:
            self.stopped = reason(self.args.sbp_patience)
            self.args.exit_interval = 1  # Megatron saves after this step and leaves its loop

    def _place(self, iteration: int) -> dict[str, int]:
        samples = iteration * self.args.global_batch_size
        return {"iteration": iteration, "samples": samples, "tokens": samples * self.args.seq_length}

    @staticmethod
    def _last_rank() -> bool:
        import torch

        return torch.distributed.get_rank() == torch.distributed.get_world_size() - 1


def main() -> int:
    """Runs one rank; returns the exit status."""
    if os.environ.get("SBP_DIE_WITH_PARENT") == "1":  # our launchers ask for it; srun looks after its own
        die_with_parent()
    _quiet()
    from megatron_sbp.training import cpu

    on_cpu = cpu.install()
    sys.argv += _machine_flags(on_cpu)
    import megatron.core.datasets.helpers_cpp  # noqa: F401  the wheel carries it ready built
    import megatron.core.datasets.utils as dataset_utils
    import megatron.training.training as training
    import torch
    from megatron.core.enums import ModelType
    from megatron.training import pretrain
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    from megatron_sbp.errors import InputError
    from megatron_sbp.training.data_file import DataFile, lock
    from megatron_sbp.training.early_stopping import END_OF_PLAN

    dataset_utils.compile_helpers = lambda: None  # would run `make` in the wheel's folder, which has no makefile
    if on_cpu:
        cpu.fork_checkpoint_queue()
    training.initialize_megatron = partial(training.initialize_megatron, allow_no_cuda=on_cpu)
    try:
        args = parse_and_validate_args(extra_args_provider=_add_arguments)
        if on_cpu:
            cpu.refuse_gpu_flags(args)
        trainer = Trainer(args)
        trainer.data = DataFile.read(args.sbp_data)
        if int(os.environ.get("RANK", "0")) == 0:
            resumed = args.load is not None and Path(args.load, "latest_checkpointed_iteration.txt").exists()
            lock(args.sbp_data, resumed and Path(args.load).resolve() == trainer.folder.resolve())
    except (InputError, ValueError) as error:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"sbp: error: {error}", file=sys.stderr, flush=True)
        return 2
    trainer.attach(training)
    status = 0
    try:
        pretrain(
            pretrain_cfg_container_from_args(args, gpt_config_from_args(args)),
            trainer.datasets,
            ModelType.encoder_or_decoder,
            trainer.forward_step,
        )
    except SystemExit as left:  # Megatron leaves its loop early by sys.exit()
        status = int(left.code or 0)
        if status == 0 and not trainer.stopped:
            done = args.consumed_train_samples >= args.train_samples
            status = 0 if done else UNFINISHED
    except InputError as error:
        print(f"sbp: error: {error}", file=sys.stderr, flush=True)
        return 2
    if status == 0 and trainer._last_rank():
        (trainer.folder / "stopped.txt").write_text(trainer.stopped or END_OF_PLAN)
    if status == UNFINISHED and "TORCHELASTIC_RUN_ID" in os.environ:
        status = 0  # torchrun would take anything else for a crash; the launcher sees that stopped.txt is missing
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return status


if __name__ == "__main__":
    sys.exit(main())
