"""The files that a stage's manifest confirms: finished, made under this recipe, and the same bytes as written."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.executor.manifests import DamagedManifest, Outputs, damage, differences, stage_manifest
from megatron_sbp.executor.state import StageState
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage

_SHOWS_RECIPE = "report"
"""The stage with all of the recipe among its settings. Those that change no figure, such as the documents' license, may
have changed since the report was written."""


def finished_outputs(run: Run, graph: list[Stage]) -> dict[str, Outputs]:
    """Entries of the outputs of every finished stage, by its name.

    A stage that reads from one that is not finished does not count as finished.

    Raises:
        InputError: a manifest is damaged, or a finished stage was made under other settings or inputs than those of
            the recipe.
    """
    found: dict[str, Outputs] = {}
    for stage in graph:
        state = StageState(run, stage, graph, reads_data=False)
        manifest = stage_manifest(state.manifest_file, stage.name)
        if manifest is None or state.replacement.interrupted() or state.tidying_file.exists():
            continue
        if not found.keys() >= stage.reads(run).keys():
            continue
        former, present = {key: manifest[key] for key in ("settings", "inputs")}, _present(state, manifest)
        if files.digest(former) != files.digest(present):
            differ = "; ".join(differences(former, present))
            raise InputError(
                f"{stage.name} was made under other settings or inputs than this recipe's ({differ}). Give "
                f"the recipe that the run was made with (the run folder, without overrides), or `sbp run` first",
                file=state.manifest_file,
            )
        found[stage.name] = manifest["outputs"]
    return found


def _present(state: StageState, manifest: JsonObject) -> JsonObject:
    """The stage's present settings and inputs, as far as they are known without reading a corpus."""
    settings = manifest["settings"] if state.stage.name == _SHOWS_RECIPE else state.stage.settings(state.run)
    try:
        inputs = state.inputs()
    except DamagedManifest:
        raise
    except (InputError, OSError):  # a corpus or a model that has moved
        inputs = manifest["inputs"]
    return {"settings": settings, "inputs": inputs}


def check_intact(run: Run, outputs: Outputs, paths: Collection[Path], label: str) -> None:
    """Reads files and compares them with their entries.

    Args:
        run: The run.
        outputs: Entries, by path below the run folder.
        paths: The files; each has an entry.
        label: What the progress line says.

    Raises:
        InputError: one of them is missing or changed.
    """
    wanted = {name: outputs[name] for name in map(run.relative, paths)}
    with Progress(label, sum(entry["size"] for entry in wanted.values()), "bytes") as progress:
        found = damage(run, wanted, read_all=True, advance=progress.advance)
    if found:
        more = f" ({len(found)} files are damaged)" if len(found) > 1 else ""
        raise InputError(f"{found[0].reason}{more}; `sbp run` says what can be done", file=run.root / found[0].path)
