"""The interface of generation engines; engines.py loads one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.sections import Vllm
from megatron_sbp.synthesis.generations import Generation


class Settings(Protocol):
    """The inputs that determine an engine's texts, besides generations and prompts."""

    @property
    def seed(self) -> int:
        """The run's seed."""
        ...

    def identity(self) -> JsonObject:
        """Everything that changes a text, as JSON values."""
        ...

    def provenance(self) -> JsonObject:
        """Provenance stored in every row: `synthesizer`, a digest of weights or None, and the sampling settings."""
        ...


@dataclass(frozen=True)
class EngineSettings:
    """A synthesizer and how it is sampled."""

    checkpoint: Path
    """Folder with config.json and safetensors."""
    weights: str
    """Digest of the weights: another checkpoint in the same folder is another engine."""
    end_of_document: int
    """Id that ends a text."""
    forbidden: tuple[int, ...]
    """Ids that are never generated: padding and separator."""
    temperature: float
    top_p: float
    max_new_tokens: int
    """Including end-of-document."""
    seed: int
    """The run's seed."""
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    vllm: Vllm | None = None
    """vLLM options; None for other engines."""

    def identity(self) -> JsonObject:
        """All fields except the checkpoint's path (its weights count) and the options that do not change texts."""
        fields = dataclasses.asdict(dataclasses.replace(self, vllm=None))
        del fields["vllm"]
        return {**fields, "checkpoint": None, **({} if self.vllm is None else {"vllm": self.vllm.of_text()})}

    def provenance(self) -> JsonObject:
        """The digest of the weights, and the sampling settings: equal in all rows, so they compress to a few bytes per
        row."""
        return {
            "synthesizer": self.weights,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            "engine": "transformers" if self.vllm is None else "vllm",
            "precision": self.precision,
        }


@dataclass(frozen=True)
class Written:
    """Output of the synthesizer for one generation."""

    tokens: np.ndarray
    """int64 [n], end-of-document not included."""
    finished: bool
    """Whether end-of-document was generated."""


class Engine(Protocol):
    """Generates texts batch by batch."""

    @property
    def settings(self) -> Settings:
        """What its texts follow from, beside generations and prompts."""
        ...

    def write(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> list[Written]:
        """Writes one text per generation.

        Args:
            generations: identities, from which the random streams follow.
            prompts: tokens of each prompt, separator included: integers [n] each.
        """
        ...


@runtime_checkable
class StreamingEngine(Protocol):
    """Generates texts in its own batches, and yields each one as soon as it is finished."""

    @property
    def settings(self) -> Settings:
        """What its texts follow from, beside generations and prompts."""
        ...

    def stream(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> Iterator[tuple[int, Written]]:
        """Yields one text per generation, in any order: index in `generations`, and text.

        Closing the iterator cancels the others.

        Args:
            generations: identities, from which the random streams follow.
            prompts: tokens of each prompt, separator included: integers [n] each.
        """
        ...
