"""The recipe that jobs, and the stages of `sbp run`, read: a copy in the run folder, by digest. Editing the file while
they wait changes nothing."""

from __future__ import annotations

from pathlib import Path

import yaml

from megatron_sbp.base import files
from megatron_sbp.base.differences import differences as changed_values
from megatron_sbp.recipe import dump_recipe
from megatron_sbp.stages import record_names as records
from megatron_sbp.stages.run_folder import Run

_HEADER = """# The recipe {recipe} as it was submitted or run, with every default. Jobs and stages read it; do not edit.
"""


def copy_of(run: Run) -> Path:
    """Where `keep` writes the recipe: RUN/submitted/DIGEST.yaml."""
    return run.submitted(files.digest(dump_recipe(run.recipe))[:12])


def keep(run: Run) -> Path:
    """Writes the resolved recipe, and returns the file."""
    file = copy_of(run)
    if not file.exists():
        files.write_text(file, _HEADER.format(recipe=run.recipe.source) + dump_recipe(run.recipe))
    return file


def differences(run: Run, former: str, present: Path) -> list[str]:
    """Differences from the recipe of an earlier submission, one line each.

    Args:
        run: the run.
        former: digest of the earlier one.
        present: the copy of the present one.
    """
    file = present.with_name(records.submitted(former))
    if former == present.stem or not file.exists():
        return []
    # The run folder is the same, perhaps named from another one.
    old, new = ({**yaml.safe_load(one.read_text(encoding="utf-8")), "run_folder": None} for one in (file, present))
    return list(changed_values(old, new))
