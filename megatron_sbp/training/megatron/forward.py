"""Callbacks for Megatron's loop: its datasets and the loss of a micro-batch."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.checkpoint.model_folder import CACHE
from megatron_sbp.training.data.data_file import DataFile
from megatron_sbp.training.megatron import state
from megatron_sbp.training.megatron.attention import cumulative_lengths
from megatron_sbp.training.source_losses import SourceLosses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from megatron.core.datasets.blended_dataset import BlendedDataset
    from megatron.core.transformer.module import MegatronModule

    from megatron_sbp.training.consumption import Recorder
    from megatron_sbp.training.data.held_out import HeldOut

    type Losses = tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]

FIELDS = ("tokens", "labels", "loss_mask", "position_ids")


class PretrainCallbacks:
    """Arguments of `pretrain()`: `datasets` and `forward_step`.

    Args:
        args: Megatron's arguments with those of this package (see megatron_sbp.training.pretrain).
        data: the data file.
    """

    def __init__(self, args: Namespace, data: DataFile):
        self.args, self.data = args, data
        self.folder: Path = args.sbp_data.parent
        self.recorder: Recorder | None = None
        """Set at the beginning of training, on ranks that record samples (megatron_sbp.training.megatron.hooks)."""
        self.source_losses = SourceLosses([source.name for source in data.train])
        self.train_datasets: list[torch.utils.data.Dataset] = []
        """The datasets of the blend, in the order of the data file, once Megatron has requested them."""

    def datasets(self, num_samples: Sequence[int], vp_stage: int | None = None) -> tuple[BlendedDataset, HeldOut, None]:
        """Train, valid and test datasets; every rank builds its own, as megatron.training allows."""
        from megatron_sbp.training.data.datasets import build_train, build_valid
        from megatron_sbp.training.megatron.vocabulary import build_tokenizer

        tokenizer = build_tokenizer(self.args)
        train = build_train(self.args.sbp_data, tokenizer, self.folder / CACHE)
        self.train_datasets = list(train.datasets)
        # Evaluations beyond Megatron's count: before the first step, those interrupted by a time limit, and those of
        # earlier starts, which may have been more frequent.
        more = self.args.consumed_valid_samples + self.args.global_batch_size * 10_000
        valid = build_valid(self.args.sbp_data, tokenizer, num_samples[1] + more)
        return train, valid, None

    datasets.is_distributed = True  # type: ignore[attr-defined]

    def forward_step(
        self,
        data_iterator: Iterator[dict[str, torch.Tensor]],
        model: MegatronModule,
        return_schedule_plan: bool = False,
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], Losses]]:
        """Runs one micro-batch through the model; returns its losses and the function that sums them."""
        from megatron.core.utils import get_attr_wrapped_model

        stage = get_attr_wrapped_model(model, "vp_stage")
        last, first = state.is_last_stage(stage), state.is_first_stage(stage)
        tokens = labels = mask = positions = lengths = sources = None
        if last or first or self.data.kind == "pairs":  # every stage needs the pair boundaries
            batch = next(data_iterator)
            if "segments" in batch:
                lengths = cumulative_lengths(batch["segments"]).cuda(non_blocking=True)
            if model.training and last and not state.runs_again():
                sources = batch["dataset_id"].long().cuda(non_blocking=True)
                if self.recorder:
                    self.recorder.record(self.args.curr_iteration, batch["dataset_id"].numpy(), batch["sample"].numpy())
            whole: dict[str, torch.Tensor] = {name: batch[name].cuda(non_blocking=True) for name in FIELDS}
            tokens, labels, mask, positions = (self._of_this_rank(whole)[name] for name in FIELDS)
        losses = model(tokens, positions, lengths, labels=labels)
        return losses, partial(self.loss, mask, sources)

    def loss(self, mask: torch.Tensor, sources: torch.Tensor | None, losses: torch.Tensor) -> Losses:
        """Sum of the losses where `mask` is 1, their number, and both for the log."""
        import torch

        mask = mask.float()
        losses = losses.float()
        total = (losses * mask).sum()
        count = mask.sum()
        if sources is not None:
            self.source_losses.add(losses, mask, sources)
        return total, count.detach().to(torch.int), {"lm loss": torch.stack([total.detach(), count.detach()])}

    def _of_this_rank(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The part of every sequence for this context-parallel rank; all of it without context parallelism."""
        if self.args.context_parallel_size == 1:
            return batch
        from megatron.core.utils import get_batch_on_this_cp_rank

        # Without its group, Megatron assumes all ranks and splits a sequence into as many parts.
        group = state.context_group()
        return get_batch_on_this_cp_rank({**batch, "cu_seqlens": None}, is_hybrid_cp=False, cp_group=group)
