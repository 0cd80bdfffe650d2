"""Where the report finds what the stages wrote."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.checkpoint.model_folder import CONSUMED, METRICS


@dataclass(frozen=True)
class Trained:
    """What is known about one training run of one arm."""

    model: Path
    """Folder of the training run, with metrics.jsonl and consumed.json."""
    evaluation: Path
    """JSON of its evaluation."""
    harness: Path | None = None
    """JSON of what lm-eval measured; None where the recipe names no tasks."""

    @property
    def consumed(self) -> Path:
        """What the training run has really consumed."""
        return self.model / CONSUMED

    @property
    def metrics(self) -> Path:
        """Losses of the training run."""
        return self.model / METRICS


@dataclass(frozen=True)
class SynthesizerSources:
    """What the stages of one synthesizer wrote, in one replicate. Qualities are those of the first replicate."""

    pairs_audit: Path
    pair_tokens_audit: Path
    synthetic_audit: Path
    synthetic_tokens_audit: Path
    model: Path
    """Folder of the tuning, with metrics.jsonl, consumed.json, and start.json where a start was prepared."""
    quality: Path
    reading: Path
    synthetic: Sequence[Path]
    """Shards of the kept synthetic documents in order."""


@dataclass(frozen=True)
class ReportSources:
    """Paths; a file that does not exist leaves its part of the report empty."""

    documents_audit: Path
    tokens_audit: Path
    neighbors_audit: Path
    replicates: Sequence[Mapping[str, Trained]]
    """The arms of every replicate, by name."""
    writers: Sequence[Mapping[str, SynthesizerSources]]
    """The synthesizers of every replicate, by name; `related` is the first if it is there."""
    manifests: Path
    """Folder of the stages' manifests."""
    documents: Sequence[Path]
    """Shards of D in order."""
    stages: Collection[str] | None = None
    """Stages of the recipe, this report's own left out; a manifest of another is a former recipe's. None for any."""
    tokenizer: Path | None = None
    """The run's, for what the filters measured of examples; None leaves it out."""

    @property
    def arms(self) -> Mapping[str, Trained]:
        """The arms of the first replicate."""
        return self.replicates[0]

    @property
    def synthesizers(self) -> Mapping[str, SynthesizerSources]:
        """The synthesizers of the first replicate; none where no arm has synthetic text."""
        return self.writers[0]


def read_if_present(file: Path) -> JsonValue:
    """The contents of a JSON file, or None where it is missing."""
    return files.read_json(file) if file.exists() else None
