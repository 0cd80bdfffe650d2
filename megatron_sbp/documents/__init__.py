"""Raw documents to splits: reading, dropping, splitting, writing in shards."""

from megatron_sbp.documents.stage import DocumentsStage

__all__ = ["DocumentsStage"]
