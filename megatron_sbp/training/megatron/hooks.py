"""Records of a training run in progress: metrics.jsonl, consumed samples, log lines, the time and reason of its end.

The wrapped functions of megatron.training.training are listed in WRAPPED; a test checks names and arguments.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from megatron_sbp.checkpoint.model_folder import COUNTS, METRICS, STOPPED
from megatron_sbp.training import consumption
from megatron_sbp.training.early_stopping import exhausted, reason
from megatron_sbp.training.megatron import state
from megatron_sbp.training.megatron.banner import StartupBanner
from megatron_sbp.training.megatron.forward import PretrainCallbacks
from megatron_sbp.training.megatron.stop_signals import StopSignals
from megatron_sbp.training.metrics import Metrics, read_metrics
from megatron_sbp.training.save_request import SaveRequest
from megatron_sbp.training.throughput import rates

if TYPE_CHECKING:
    from megatron.core.transformer.module import MegatronModule

WRAPPED = (
    "train",
    "train_step",
    "evaluate",
    "training_log",
    "checkpoint_and_decide_exit",
    "save_checkpoint_and_time",
)


class LoopHooks:
    """Hooks for Megatron's loop, installed by `attach`.

    Args:
        trainer: the training run.
        signals: passed on to Megatron when the loop begins.
        start_up: startup banner, with FLOPs and peak.
    """

    def __init__(self, trainer: PretrainCallbacks, signals: StopSignals, start_up: StartupBanner):
        self.trainer, self.signals, self.start_up = trainer, signals, start_up
        self.args = trainer.args
        self.metrics = Metrics(trainer.folder / METRICS)
        self.save_request = SaveRequest(self.args.sbp_save_file)
        self.stopped = ""
        """Reason if the training run ended before its plan; otherwise empty."""
        self.evaluation_cut_off = False
        """Whether --exit-duration-in-mins interrupted the last evaluation; the next start repeats it."""
        self.evaluated = 0
        """The step of the last complete evaluation of this start."""
        self._busy, self._losses, self._since = 0.0, list[torch.Tensor](), 0

    def attach(self, training: Any) -> None:  # Any: a module in which functions are replaced
        """Wraps the functions of megatron.training.training."""
        train, evaluate, log = training.train, training.evaluate, training.training_log
        train_step, checkpoint = training.train_step, training.checkpoint_and_decide_exit
        save = training.save_checkpoint_and_time

        def train_and_write(*args: Any, **kwargs: object) -> object:  # Any: of many types, each at its place
            forward_step, model, valid, config = args[0], args[1], args[5], args[7]
            self._begin(model)
            if self._evaluation_is_due():
                iteration = self.args.iteration
                training.evaluate_and_print_results(
                    f"iteration {iteration}", forward_step, valid, model, iteration, None, config
                )
                if self.evaluation_cut_off:  # it would be too late after another step
                    raise SystemExit(0)
            return train(*args, **kwargs)

        def step_and_measure(*args: object, **kwargs: object) -> object:
            started = time.monotonic()
            result = train_step(*args, **kwargs)
            self._busy += time.monotonic() - started
            return result

        def evaluate_and_write(*args: object, **kwargs: object) -> object:
            before = self.args.consumed_valid_samples
            result = evaluate(*args, **kwargs)
            self.evaluation_cut_off = result[2]
            if self.evaluation_cut_off:  # the next start restarts it with its first sample
                self.args.consumed_valid_samples = before
            else:
                self._evaluated(result[0])
            return result

        def log_and_write(
            loss_dict: dict[str, torch.Tensor],
            total_loss_dict: dict[str, torch.Tensor],
            learning_rate: float | None,
            iteration: int,
            *args: Any,  # Any: of many types, each at its place
            **kwargs: object,
        ) -> object:
            grad_norm = args[3]  # after loss_scale, report_memory_flag and skipped_iter
            self._stepped(loss_dict, learning_rate, iteration, grad_norm)
            return log(loss_dict, total_loss_dict, learning_rate, iteration, *args, **kwargs)

        def checkpoint_if_asked(
            model: object, optimizer: object, scheduler: object, iteration: int, *args: object, **kwargs: object
        ) -> object:
            usual = self.args.save_interval
            if self._save_is_asked(iteration):
                self.args.save_interval = 1
            try:
                return checkpoint(model, optimizer, scheduler, iteration, *args, **kwargs)
            finally:
                self.args.save_interval = usual

        def sync_and_save(*args: object, **kwargs: object) -> object:
            # Before this rank saves its part: no checkpoint is complete without the records of its steps.
            if self.trainer.recorder:
                self.trainer.recorder.sync()
            if self.last_rank():
                self.metrics.sync()
            return save(*args, **kwargs)

        training.train, training.train_step = train_and_write, step_and_measure
        training.checkpoint_and_decide_exit = checkpoint_if_asked
        training.save_checkpoint_and_time = sync_and_save
        training.evaluate, training.training_log = evaluate_and_write, log_and_write

    def _save_is_asked(self, iteration: int) -> bool:
        """Whether the user requested a checkpoint. All ranks agree on it, once per log interval."""
        args = self.args
        if args.sbp_save_file is None or iteration % args.log_interval:
            return False
        if iteration == args.train_iters:  # saved anyway; a second save could leave it with the seal of the first
            return False
        asked = torch.zeros(1, dtype=torch.int, device="cuda")
        if self.last_rank():
            asked[0] = self.save_request.is_new()
        torch.distributed.broadcast(asked, torch.distributed.get_world_size() - 1)
        if asked.item() and self.last_rank():
            print(f"sbp: step {iteration} | {args.sbp_save_file} was touched: saving a checkpoint", flush=True)
        return bool(asked.item())

    def _begin(self, model: list[MegatronModule]) -> None:
        """Called once per start, after loading the checkpoint: drops the rows after it and starts recording."""
        folder, args = self.trainer.folder, self.args
        if self.last_rank():
            (folder / STOPPED).unlink(missing_ok=True)
            self.metrics.rewind(args.iteration)
            consumption.rewind(folder / COUNTS, args.iteration)
        torch.distributed.barrier()
        if state.has_losses() and state.is_first_of_tensor_and_context():
            self.trainer.recorder = consumption.Recorder(folder / COUNTS, state.data_rank())
        self._busy, self._losses, self._since = 0.0, [], args.iteration
        text = self.start_up.text(model)
        if self.last_rank():
            print(text, flush=True)
        self.signals.hand_over(args.exit_signal if args.exit_signal_handler else None)

    def _evaluation_is_due(self) -> bool:
        """Whether to evaluate before the first step: if requested, or if the previous start was stopped in an
        evaluation."""
        iteration = self.args.iteration
        if iteration == 0:
            return self.args.sbp_first_evaluation
        due = torch.zeros(1, dtype=torch.int, device="cuda")
        if self.last_rank() and self.args.eval_interval and iteration % self.args.eval_interval == 0:
            due[0] = not self._row_of_evaluation(iteration)
        torch.distributed.broadcast(due, torch.distributed.get_world_size() - 1)
        return bool(due.item())

    def _row_of_evaluation(self, iteration: int) -> bool:
        return any(row["iteration"] == iteration for row in read_metrics(self.metrics.path, "valid"))

    def _stepped(
        self, loss_dict: dict[str, torch.Tensor], learning_rate: float | None, iteration: int, grad_norm: float | None
    ) -> None:
        if not self.last_rank():
            return
        self._losses.append(loss_dict["lm loss"])  # read at the end of the interval: reading waits for the device
        if iteration % self.args.log_interval and iteration != self.args.train_iters:
            return
        values = [float(value[0] / value[1]) if value.numel() == 2 else float(value) for value in self._losses]
        samples = (iteration - self._since) * self.args.global_batch_size
        start_up = self.start_up
        found = rates(
            samples,
            self._busy,
            length=self.args.seq_length,
            flops_per_sample=start_up.flops_per_sample,
            ranks=torch.distributed.get_world_size(),
            peak=start_up.peak,
        )
        row = {
            "kind": "train",
            **self._place(iteration),
            "loss": sum(values) / len(values),
            "learning_rate": learning_rate,
            "grad_norm": None if grad_norm is None else float(grad_norm),
            "tokens_per_second": found.tokens_per_second,
            "tflops_per_rank": found.tflops,
            "mfu": found.mfu,
            "seconds": self._busy,
        }
        self.metrics.append(row)
        print(f"sbp: step {iteration} of {self.args.train_iters} | loss {row['loss']:.4f} | {found}", flush=True)
        self._to_boards(
            {
                name: value
                for name, value in (("tokens per second", found.tokens_per_second), ("MFU", found.mfu))
                if value
            },
            iteration,
        )
        self._losses, self._since, self._busy = [], iteration, 0.0

    def _evaluated(self, losses: dict[str, torch.Tensor]) -> None:
        """Writes a validation row; all ranks decide together whether to stop."""
        args = self.args
        self.evaluated = iteration = args.consumed_train_samples // args.global_batch_size
        by_source = self._by_source()
        stop = torch.zeros(1, dtype=torch.int, device="cuda")
        if self.last_rank():
            # Megatron evaluates again at the end, which repeats the last row.
            if not self._row_of_evaluation(iteration):
                row = {"kind": "valid", **self._place(iteration), "loss": float(losses["lm loss"])}
                if by_source:
                    row["train_loss_by_source"] = by_source
                self.metrics.append(row)
                parts = "".join(f" | train loss ({name}) {found['loss']:.4f}" for name, found in by_source.items())
                print(f"sbp: step {iteration} | held-out loss {row['loss']:.4f}{parts}", flush=True)
                self._to_boards({f"lm loss of {name}": found["loss"] for name, found in by_source.items()}, iteration)
            rows = read_metrics(self.metrics.path, "valid")  # all ranks wait
            stop[0] = bool(args.sbp_patience) and exhausted(rows, args.sbp_patience)
        torch.distributed.broadcast(stop, torch.distributed.get_world_size() - 1)
        if stop.item() and iteration < args.train_iters:
            self.stopped = reason(args.sbp_patience)
            args.exit_interval = 1  # Megatron saves after this step and leaves its loop

    def _by_source(self) -> dict[str, dict[str, float]]:
        """Training loss by source since the last evaluation, on the last pipeline stage."""
        if not state.has_losses():
            return {}
        return self.trainer.source_losses.take(state.data_group(), "cuda")

    def _place(self, iteration: int) -> dict[str, int]:
        samples = iteration * self.args.global_batch_size
        return {"iteration": iteration, "samples": samples, "tokens": samples * self.args.seq_length}

    @staticmethod
    def _to_boards(values: dict[str, float], iteration: int) -> None:
        """TensorBoard and Weights & Biases, if Megatron's flags enabled them (on the last rank)."""
        board, wandb = state.writers()
        for name, value in values.items():
            if board:
                board.add_scalar(name, value, iteration)
        if wandb and values:
            wandb.log(values, iteration)

    @staticmethod
    def flush_boards() -> None:
        """Flushes TensorBoard's thread, since the process may end without waiting for it."""
        board = state.writers().tensorboard
        if board:
            board.flush()

    @staticmethod
    def last_rank() -> bool:
        """Whether this rank writes for all ranks: the last one, which has the losses in every layout."""
        return torch.distributed.get_rank() == torch.distributed.get_world_size() - 1
