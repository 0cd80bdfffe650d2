"""Where the report finds what the stages wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_sbp.base import files


@dataclass(frozen=True)
class ReportSources:
    """Paths; a file that does not exist leaves its part of the report empty."""

    documents_audit: Path
    tokens_audit: Path
    neighbors_audit: Path
    pairs_audit: Path
    pair_tokens_audit: Path
    synthetic_audit: Path
    synthetic_tokens_audit: Path
    models: Mapping[str, Path]
    """Folders of the trainings, with metrics.jsonl and consumed.json: baseline, synthesizer, sbp, oracle."""
    evaluations: Mapping[str, Path]
    """JSON of each arm, `quality` and `reading`."""
    manifests: Path
    """Folder of the stages' manifests."""
    documents: Sequence[Path]
    """Shards of D in order."""
    synthetic: Sequence[Path]
    """Shards of the kept synthetic documents in order."""

    def consumed(self, model: str) -> Path:
        """What a training has really consumed."""
        return self.models[model] / "consumed.json"

    def metrics(self, model: str) -> Path:
        """Losses of a training."""
        return self.models[model] / "metrics.jsonl"


def read_if_present(file: Path) -> Any:
    """The contents of a JSON file, or None where it is missing."""
    return files.read_json(file) if file.exists() else None
