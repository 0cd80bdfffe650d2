"""The whole recipe, and the recipes of its synthesizers, arms, and replicates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.recipe.sections.arms import CLASSIC_ARMS, Arm, Synthesizer
from megatron_sbp.recipe.sections.documents import Documents, Tokenizer
from megatron_sbp.recipe.sections.evaluation import Evaluation
from megatron_sbp.recipe.sections.launch import Launch, Slurm
from megatron_sbp.recipe.sections.pairing import Embedding, Neighbors, Pairs
from megatron_sbp.recipe.sections.section import DEFAULTS, Section
from megatron_sbp.recipe.sections.synthesis import Filter, Synthesis
from megatron_sbp.recipe.sections.training import Model, Training, Tuning
from megatron_sbp.recipe.values import Int, Marks, Place, Prose, Replicates, Text


class Recipe(Section):
    """A run; the same recipe format serves a laptop and a thousand GPUs."""

    name: Text
    """Shown in the report and in job names."""
    documents: Documents
    tokenizer: Tokenizer
    model: Model
    training: Training
    synthesis: Synthesis
    seed: Int = Field(1, ge=0, lt=1 << 32)  # numpy's and Megatron's generators take 32 bits
    """Seed of every random choice in the run."""
    run_folder: Place | None = None
    """The run folder, relative to the current folder: a new or empty folder, or this recipe's existing run folder. null
    is runs/FOLDER for FOLDER/recipe.yaml, and runs/FILE for any other FILE.yaml."""
    note: Prose = ""
    """Free text, shown in the report."""
    synthesizers: dict[Text, Synthesizer] = {RELATED: Synthesizer()}
    """The synthesizers, by name. `related` is the paper's; another one with `pairs: {relation: random}` is the control.
    Each is tuned and sampled once, even if several arms read its text."""
    arms: dict[Text, Arm] = CLASSIC_ARMS
    """The models to train and compare, by name. Without this key: baseline, sbp, and oracle, as in the paper."""
    replicates: Replicates = 1
    """Number of times synthesizers and arms are trained, each time with different weights, orders, and generations, on
    the same split. With several, intervals cover more than the noise of the test set."""
    marks: Marks = {}
    """Confidence in a value (V, S2, S, A, M, O: docs/paper.md), by recipe key: `pairs.alpha: S`."""
    tuning: Tuning = DEFAULTS
    embedding: Embedding = DEFAULTS
    neighbors: Neighbors = DEFAULTS
    pairs: Pairs = DEFAULTS
    filter: Filter = DEFAULTS
    evaluation: Evaluation = DEFAULTS
    launch: Launch = DEFAULTS
    slurm: Slurm = DEFAULTS
    _source: Path | None = None
    _first_seed: int | None = None
    _lines: dict[str, int] = PrivateAttr(default_factory=dict)

    @property
    def source(self) -> Path | None:
        """The recipe's file; paths in the recipe are relative to its folder."""
        return self._source

    @source.setter
    def source(self, file: Path | None) -> None:
        self._source = file

    @property
    def lines(self) -> dict[str, int]:
        """Line of every key in the file, from 1; 0 for a key that came from the command line."""
        return self._lines

    @property
    def folder(self) -> Path:
        """Folder to which the recipe's paths are relative."""
        return self.source.parent if self.source else Path.cwd()

    @property
    def used_synthesizers(self) -> list[str]:
        """Synthesizers whose text an arm reads, `related` first, then in the order of the recipe."""
        read = {arm.synthetic for arm in self.arms.values()}
        return sorted((name for name in self.synthesizers if name in read), key=lambda name: name != RELATED)

    @property
    def tuned_synthesizers(self) -> list[str]:
        """The `used_synthesizers` that are tuned on pairs."""
        return [name for name in self.used_synthesizers if self.synthesizers[name].method == "tuned"]

    def start_arm_of(self, synthesizer: str) -> str | None:
        """The arm whose weights a synthesizer starts from; None if they are not an arm's.

        Samples are taken from the baseline.
        """
        method = self.synthesizers[synthesizer].method
        if method != "tuned":
            return "baseline" if method == "samples" else None
        tuning = self.for_synthesizer(synthesizer).tuning
        return tuning.start_arm if (tuning.start or "last") in ("last", "best") else None

    def round_of(self, synthesizer: str) -> int:
        """1 for a synthesizer that starts from a model without synthetic text, 2 if it starts from an arm of round
        1."""
        arm = self.start_arm_of(synthesizer)
        writer = None if arm is None else self.arms[arm].synthetic
        return 1 if writer is None else 1 + self.round_of(writer)

    @property
    def evaluation_seed(self) -> int:
        """Seed of the test questions, the same in all replicates."""
        return self.seed if self._first_seed is None else self._first_seed

    def for_synthesizer(self, name: str) -> Recipe:
        """This recipe with the sections of one synthesizer."""
        return self._with(self.synthesizers[name])

    def for_arm(self, name: str) -> Recipe:
        """This recipe with the sections of one arm."""
        return self._with(self.arms[name])

    def for_replicate(self, number: int) -> Recipe:
        """This recipe with the seed of a replicate, counted from 1; the first keeps the recipe's seed."""
        if number == 1:
            return self
        # A stride too large to reach by counting up, so that `seed: 2` and the second replicate share nothing.
        copy = self._changed(seed=(self.seed + 1_000_003 * (number - 1)) % (1 << 32))
        copy._first_seed = self.evaluation_seed
        return copy

    def overridden(self, section: str, values: Mapping[str, JsonValue]) -> Recipe:
        """This recipe with some keys of a section changed.

        Raises:
            pydantic.ValidationError: an unknown key, a wrong type, or out of range.
        """
        present: Section = getattr(self, section)
        merged = present.model_dump()
        for key, value in values.items():
            inner = isinstance(getattr(present, key, None), Section) and isinstance(value, dict)
            merged[key] = {**merged[key], **value} if inner else value
        return self._changed(**{section: type(present).model_validate(merged)})

    def _with(self, about: Arm | Synthesizer) -> Recipe:
        recipe = self
        for section, values in about:
            if isinstance(values, dict) and values:
                recipe = recipe.overridden(section, values)
        return recipe

    def _changed(self, **values: object) -> Recipe:
        return self.model_copy(update=values)

    def to_dict(self) -> JsonObject:
        """All values, including defaults, as JSON-able types."""
        return self.model_dump()

    def error(self, key: str, message: str) -> InputError:
        """An error about a value of this recipe, with the file and the line where it was given.

        Args:
            key: Dotted key. If it was not given, the line is that of the enclosing section.
            message: The problem with its value.
        """
        return error_at(key, message, self.source, self.lines)

    def place_of(self, key: str) -> Path | str | None:
        """Source of a value for messages: the recipe's file, or the command line."""
        return self.error(key, "").file

    @property
    def tuning_sequence_length(self) -> int:
        """Length of a packed sequence of pairs, in tokens."""
        return self.tuning.sequence_length or self.model.sequence_length

    @property
    def pair_room(self) -> int:
        """Maximum length of a pair in tokens, including separator and end-of-document: the limit of model and
        sequence."""
        return min(self.tuning_sequence_length, self.model.sequence_length)

    @property
    def max_seed_tokens(self) -> int:
        """Maximum tokens of a seed document, excluding the separator."""
        return self.tuning.max_seed_tokens or self.pair_room // 2

    @property
    def max_target_tokens(self) -> int:
        """Maximum tokens of a target, excluding separator and end-of-document."""
        return self.tuning.max_target_tokens or self.pair_room - self.max_seed_tokens - 2

    @property
    def max_new_tokens(self) -> int:
        """Maximum tokens that the synthesizer may generate, including end-of-document."""
        return self.synthesis.max_new_tokens or self.max_target_tokens + 1


def error_at(key: str, message: str, file: Path | None, lines: Mapping[str, int]) -> InputError:
    """An error about a dotted key, with the line of the nearest enclosing key that was given."""
    near = key
    while near and near not in lines:
        near = near.rpartition(".")[0]
    line = lines.get(near)
    if line == 0:
        return InputError(message, file="command line", key=key)
    return InputError(message, file=file, line=line, key=key)
