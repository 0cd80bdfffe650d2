"""Megatron's --spec for tests: our layers, and datasets that raise in every reader while RUN/raise exists."""

from __future__ import annotations

import os
from pathlib import Path

from megatron_sbp.training.data.document_dataset import DocumentDataset
from megatron_sbp.training.megatron.layer_spec import layer_spec

__all__ = ["layer_spec"]

_read = DocumentDataset.__getitem__


def _getitem(self, index):
    if Path(os.environ["SBP_TEST_RUN"], "raise").exists():
        raise ValueError("was told to fail")
    return _read(self, index)


DocumentDataset.__getitem__ = _getitem
