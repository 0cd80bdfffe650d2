"""Validation data: the same sequences at every evaluation."""

from __future__ import annotations

import torch
from megatron.core.datasets.utils import Split


class HeldOut(torch.utils.data.Dataset):
    """Repeats the first `sequences` items of a dataset for as long as Megatron requests validation samples.

    Megatron reads new validation samples at every evaluation; if each one takes exactly `sequences` samples, each
    starts at item 0 again, so losses are comparable.

    Args:
        dataset: the validation sequences.
        sequences: samples of one evaluation, a multiple of the global batch size. If the dataset has fewer, the batch
            is filled with samples without loss.
        num_samples: total number of samples that Megatron will read.
    """

    def __init__(self, dataset: torch.utils.data.Dataset, sequences: int, num_samples: int):
        self.dataset, self.sequences, self.num_samples = dataset, sequences, num_samples
        self.split = Split.valid

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, int | torch.Tensor]:
        place = index % self.sequences
        if place < len(self.dataset):
            return {"dataset_id": 0, **self.dataset[place]}
        item = {"dataset_id": 0, **self.dataset[0]}
        item["loss_mask"] = torch.zeros_like(item["loss_mask"])
        return item
