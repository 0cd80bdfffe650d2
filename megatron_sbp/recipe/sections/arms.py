"""The models to compare and the synthesizers that write for them, as overrides of the other sections."""

from __future__ import annotations

from typing import Literal

from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.sections.section import Section
from megatron_sbp.recipe.values import Overrides, Share, Text


class Arm(Section):
    """A model to be trained and compared, at the common budget of all arms."""

    synthetic: Text | None = None
    """The synthesizer whose text it reads once; null trains on real documents only."""
    synthetic_share: Share | None = None
    """Share of its training sequences that is synthetic, rounded down; null takes all of `synthesis.tokens`.
    Several arms with different shares of the same text make a sweep."""
    order: Literal["mixed", "synthetic_first"] = "mixed"
    """mixed: real and synthetic sequences alternate in proportion. synthetic_first: all synthetic ones, then the real
    ones."""
    documents: Literal["train", "oracle"] = "train"
    """Real documents: D, or D and the oracle's additional ones."""
    training: Overrides = {}
    """Keys of `training` that differ in this arm: `{weight_decay: 0.8}`. Those that determine the number of tokens
    cannot differ."""


class Synthesizer(Section):
    """A synthesizer's overrides of the recipe's sections: `{pairs: {relation: random}}`."""

    method: Literal["tuned", "samples", "replacement"] = "tuned"
    """tuned: a model tuned on pairs writes a related document for every seed document. samples: the baseline writes
    documents without a seed (plain self-distillation). replacement: a copy of every seed document with tokens replaced
    at random. The last two are controls and use no pairs."""
    replaced: Share = 0.15
    """Fraction of the tokens that `method: replacement` replaces with random tokens of D."""

    pairs: Overrides = {}
    """Keys of `pairs`."""
    tuning: Overrides = {}
    """Keys of `tuning`."""
    synthesis: Overrides = {}
    """Keys of `synthesis`."""
    filter: Overrides = {}
    """Keys of `filter`."""


CLASSIC_ARMS = {"baseline": Arm(), "sbp": Arm(synthetic=RELATED), "oracle": Arm(documents="oracle")}
"""The paper's arms, for a recipe without `arms`."""
