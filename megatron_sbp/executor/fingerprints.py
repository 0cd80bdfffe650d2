"""Fingerprints of stages and units: digests of what they are made from. Work continues only under its own.

On disk they are called `key`, as in run folders of earlier versions, which have to resume.
"""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from megatron_sbp.base import files
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import UNIT, Stage


@dataclass(frozen=True)
class Fingerprints:
    """What a stage would be made from now. Digests are hexadecimal SHA-256."""

    stage: str
    """Digest of all settings and inputs."""
    units: str
    """Digest of the settings of units, and of the inputs that all of them read."""
    described: JsonObject
    """`settings`, and `inputs`: path below the run folder to digest."""
    own: Mapping[str, Mapping[str, str]]
    """Inputs that one unit reads alone: unit to path to digest. Empty where every unit reads everything."""

    def unit(self, name: str) -> str:
        """Fingerprint of one unit."""
        if not self.own:
            return self.units
        return files.digest({"units": self.units, "inputs": dict(self.own.get(name, {}))})

    @property
    def work(self) -> str:
        """Names work that is done beside finished outputs."""
        return self.units if not self.own else files.digest({"units": self.units, "own": self.own})

    def continued_from(self, units: str | None, inputs: Mapping[str, str]) -> bool:
        """Whether work on units can continue where it stopped: each unit done then is still valid, others may be new.

        Args:
            units: `units` of the former work.
            inputs: its inputs.
        """
        same = all(inputs.get(path, digest) == digest for mine in self.own.values() for path, digest in mine.items())
        return units == self.units and same


def fingerprints_of(stage: Stage, run: Run, inputs: dict[str, str], patterns: list[str]) -> Fingerprints:
    """The fingerprints of a stage.

    Args:
        stage: the stage.
        run: the run.
        inputs: path below the run folder, or name of an external file, to digest.
        patterns: glob patterns of what the stage reads; what those with `{unit}` match, and no other, is read by one
            unit each.
    """
    common = [pattern for pattern in patterns if UNIT not in pattern]
    own = _by_unit(inputs, [pattern for pattern in patterns if UNIT in pattern], common)
    alone = {path for mine in own.values() for path in mine}
    shared = {path: digest for path, digest in inputs.items() if path not in alone}
    base = {"stage": stage.name, "version": stage.version}
    settings = stage.settings(run)
    return Fingerprints(
        stage=files.digest({**base, "inputs": inputs, "settings": settings}),
        units=files.digest({**base, "inputs": shared, "settings": stage.unit_settings(run)}),
        described={"settings": settings, "inputs": inputs},
        own=own,
    )


def of_all_units(pattern: str) -> str:
    """A pattern with `{unit}` as one for the inputs of all units."""
    return pattern.replace(UNIT, "*")


def _by_unit(inputs: Mapping[str, str], patterns: list[str], common: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for pattern in patterns:
        before, after = pattern.split(UNIT)
        matching = records.of_one_unit(before, after)
        for path, digest in inputs.items():
            match = matching.fullmatch(path)
            if match and not any(fnmatch.fnmatch(path, other) for other in common):
                found[match["unit"]][path] = digest
    return dict(found)
