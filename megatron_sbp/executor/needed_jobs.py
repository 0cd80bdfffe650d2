"""Which stages of a graph need a job, and what their jobs would refuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from megatron_sbp.base.errors import InputError
from megatron_sbp.executor.fingerprints import Fingerprints
from megatron_sbp.executor.state import StageState


def complete_stages(
    states: Mapping[str, StageState], live: Collection[str], dry_run: bool
) -> tuple[set[str], dict[str, Fingerprints]]:
    """Names of the stages that need no job, and the fingerprints of the others as far as they are known.

    Args:
        states: of all stages by name, in order.
        live: names of those that have a job.
        dry_run: write nothing.

    Raises:
        InputError: what the job of a stage would refuse, where all that the stage reads is there already.
    """
    found: set[str] = set()
    known: dict[str, Fingerprints] = {}
    going: set[str] = set()
    for name, state in states.items():
        # A stage after one that runs again may have to run again too; if not, its job ends at once.
        waits = not going.isdisjoint(state.stage.reads(state.run))
        if not waits and _finished(state):
            if not dry_run:
                state.note_times()
            found.add(name)
            continue
        going.add(name)
        if not waits and name not in live:
            if not dry_run:
                state.stage.external(state.run)  # raises for what is not there; not every stage finds out what waits
            inputs = _inputs(state)
            if inputs is not None:
                known[name] = state.fingerprints(inputs)
                state.check(known[name])
    return found, known


def _finished(state: StageState) -> bool:
    try:
        return state.finished()
    except InputError:  # a stage that it reads from is not finished, or its inputs were never read
        return False


def _inputs(state: StageState) -> dict[str, str] | None:
    """All that the stage reads; None where some of it is not here, or is large and was never read."""
    try:
        return state.inputs()
    except (InputError, OSError):
        return None
