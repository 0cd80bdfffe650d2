"""Raw documents to splits: reading, dropping, splitting, writing in shards."""

from megatron_sbp.stages.documents import DocumentsStage

__all__ = ["DocumentsStage"]
