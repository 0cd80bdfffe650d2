"""Stages of further synthesizers, arms and replicates: the same stages, with a recipe and files of their own.

A stage always uses the usual names (pairs/, models/synthesizer, tokens/synthetic, `tune`). In scopes it finds other
files under them: those of the synthesizer `random` are in synthesizers/random/, those of the second replicate in
replicates/2/, those of both in replicates/2/synthesizers/random/. Its stage name gets a suffix: `tune.random.2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe.names import RELATED
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.placed import Scope
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Damage, HalfDone, Stage

OF_PAIRS = ("pairs", "tokenize-pairs")
"""Stages that exist once per synthesizer, whatever the number of replicates."""
OF_SYNTHESIZER = (
    "tune", "export-synthesizer", "pilot", "judge-pilot", "synthesize", "compare", "judge", "deduplicate", "filter",
    "tokenize-synthetic", "scan-corpus",
)  # fmt: skip
"""Stages that exist once per synthesizer and replicate."""

_SYNTHETIC = (usual.tokens("synthetic"), usual.audit_tokens("synthetic_audit"), usual.audit_tokens("synthetic_parts"))
_PAIRS = (usual.PAIRS, usual.tokens("pairs"), usual.tokens("valid_pairs"), usual.audit_tokens("pairs_audit"))
_WRITTEN = (
    usual.export("synthesizer"),
    usual.model("synthesizer"),
    usual.model("start"),
    usual.SYNTHETIC,
    usual.token_parts("tokenize-synthetic*"),
)


def synthesizer_scope(name: str) -> tuple[Scope, ...]:
    """Where all files of a synthesizer are; those of `related` have the usual names."""
    return () if name == RELATED else (Scope(usual.of_synthesizer(name), (*_PAIRS, *_WRITTEN, *_SYNTHETIC)),)


def synthetic_scope(name: str | None) -> tuple[Scope, ...]:
    """Where the synthetic tokens of an arm are."""
    return () if name in (None, RELATED) else (Scope(usual.of_synthesizer(name), _SYNTHETIC),)


def replicate_scope(number: int) -> tuple[Scope, ...]:
    """Where each replicate's models, generations, exports, and evaluations are. The first has the usual names."""
    if number == 1:
        return ()
    whole = (usual.MODELS, usual.EXPORTS, usual.EVALUATIONS, usual.HARNESS, usual.SYNTHETIC)
    made = (*whole, usual.token_parts("tokenize-synthetic*"), *_SYNTHETIC)
    return (Scope(usual.of_replicate(number), (*made, *usual.below(usual.of_synthesizer("*"), *made))),)


def replicate_run(run: Run, number: int) -> Run:
    """A run as a stage of one replicate sees it."""
    return run.scoped(run.recipe.for_replicate(number), replicate_scope(number))


def synthesizer_run(run: Run, name: str) -> Run:
    """A run, or a replicate of it, as a stage of one synthesizer sees it."""
    return run.scoped(run.recipe.for_synthesizer(name), (*run.scopes, *synthesizer_scope(name)))


def arm_run(run: Run, arm: str) -> Run:
    """A run, or a replicate of it, as the training of an arm sees it."""
    return run.scoped(run.recipe.for_arm(arm), (*run.scopes, *synthetic_scope(run.recipe.arms[arm].synthetic)))


def suffix(synthesizer: str = RELATED, replicate: int = 1) -> str:
    """What is appended to the names of stages: nothing, `.random`, `.2` or `.random.2`."""
    return ("" if synthesizer == RELATED else f".{synthesizer}") + ("" if replicate == 1 else f".{replicate}")


class ScopedStage(Stage):
    """A stage in the scopes of an arm, a synthesizer or a replicate.

    Args:
        stage: the stage, under its usual name.
        name: its name here.
        replicate: from 1.
        synthesizer: whose files it works on, or whose synthetic tokens it trains on.
        arm: which arm it trains.
    """

    def __init__(
        self, stage: Stage, name: str, replicate: int = 1, synthesizer: str | None = None, arm: str | None = None
    ):
        self.stage, self.name, self.replicate, self.synthesizer, self.arm = stage, name, replicate, synthesizer, arm
        told = [] if synthesizer in (None, RELATED) or arm else [synthesizer]
        told += [f"replicate {replicate}"] if replicate > 1 else []
        self.title = stage.title + (f" ({', '.join(told)})" if told else "")
        self.version, self.sharded, self.device = stage.version, stage.sharded, stage.device
        self.units_of_recipe = stage.units_of_recipe
        self.asks_like, self.grows, self.checks_own_work = stage.asks_like, stage.grows, stage.checks_own_work
        self.lists_inputs = stage.lists_inputs
        stage.name = name  # messages, logs and scratch folders

    def under(self, srun: Sequence[str]) -> ScopedStage:
        """The same stage, whose ranks Slurm starts."""
        return ScopedStage(self.stage.under(srun), self.name, self.replicate, self.synthesizer, self.arm)

    def scoped(self, run: Run) -> Run:
        """The run as this stage sees it."""
        inner = replicate_run(run, self.replicate)
        if self.arm is not None:
            return arm_run(inner, self.arm)
        return inner if self.synthesizer is None else synthesizer_run(inner, self.synthesizer)

    def _stage_name(self, usual: str) -> str:
        """Name here of a stage that this one reads from."""
        base, _, of = usual.partition(".")  # evaluate names stages of further synthesizers itself
        synthesizer = of or self.synthesizer or RELATED
        if base in OF_PAIRS:
            return base + suffix(synthesizer)
        if base in OF_SYNTHESIZER:
            return base + suffix(synthesizer, self.replicate)
        if base.startswith("train-") or base in ("export-arms", "evaluate", "harness"):
            return base + suffix(replicate=self.replicate)
        return usual

    def device_for(self, run: Run) -> str:
        return self.stage.device_for(self.scoped(run))

    def gpus(self, run: Run) -> int:
        return self.stage.gpus(self.scoped(run))

    def python(self, run: Run) -> Path | None:
        return self.stage.python(self.scoped(run))

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        inner = self.scoped(run)
        return {
            self._stage_name(name): tuple(inner.named(pattern) for pattern in patterns)
            for name, patterns in self.stage.reads(inner).items()
        }

    def external(self, run: Run) -> list[Path]:
        return self.stage.external(self.scoped(run))

    def settings(self, run: Run) -> JsonObject:
        return self.stage.settings(self.scoped(run))

    def unit_settings(self, run: Run) -> JsonObject:
        return self.stage.unit_settings(self.scoped(run))

    def grown_from(self, run: Run, former: Mapping[str, JsonValue]) -> bool:
        return self.stage.grown_from(self.scoped(run), former)

    def units(self, run: Run) -> list[str]:
        return self.stage.units(self.scoped(run))

    def counts(self, run: Run) -> bool:
        return self.stage.counts(self.scoped(run))

    def count(self, run: Run, unit: str) -> None:
        self.stage.count(self.scoped(run), unit)

    def counted(self, run: Run) -> set[str]:
        return self.stage.counted(self.scoped(run))

    def owns(self, run: Run) -> tuple[str, ...]:
        inner = self.scoped(run)
        return tuple(inner.named(pattern) for pattern in self.stage.owns(inner))

    def saves(self, run: Run) -> tuple[str, ...]:
        inner = self.scoped(run)
        return tuple(inner.named(pattern) for pattern in self.stage.saves(inner))

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        return self.stage.run_unit(self.scoped(run), unit)

    def noted_by_others(self, run: Run) -> list[Path]:
        return self.stage.noted_by_others(self.scoped(run))

    def finish(self, run: Run) -> list[Path]:
        return self.stage.finish(self.scoped(run))

    def reopens(self, run: Run) -> str | None:
        found = self.stage.reopens(self.scoped(run))
        return None if found is None else self._stage_name(found)

    def intermediate(self, run: Run, path: Path) -> bool:
        return self.stage.intermediate(self.scoped(run), path)

    def half_done(self, run: Run) -> dict[str, HalfDone]:
        return self.stage.half_done(self.scoped(run))

    def spent(self, run: Run) -> float:
        return self.stage.spent(self.scoped(run))

    def spent_on(self, run: Run, unit: str) -> float:
        return self.stage.spent_on(self.scoped(run), unit)

    def progress(self, run: Run) -> str:
        return self.stage.progress(self.scoped(run))

    def unit_progress(self, run: Run, unit: str) -> str:
        return self.stage.unit_progress(self.scoped(run), unit)

    def pace(self, run: Run) -> str:
        return self.stage.pace(self.scoped(run))

    def unfinished_damage(self, run: Run) -> list[Damage]:
        return self.stage.unfinished_damage(self.scoped(run))

    def check_damage(self, run: Run, found: list[Damage], repair: bool, discard: bool) -> None:
        self.stage.check_damage(self.scoped(run), found, repair, discard)

    def repair(self, run: Run, found: list[Damage]) -> None:
        self.stage.repair(self.scoped(run), found)
