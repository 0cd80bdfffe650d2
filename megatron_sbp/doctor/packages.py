"""Optional packages: which are installed, and the cost of lacking the others."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import path_elsewhere, with_path
from megatron_sbp.doctor.findings import Finding, fail, ok, warn
from megatron_sbp.doctor.subject import Subject
from megatron_sbp.recipe import Recipe
from megatron_sbp.training.optional_packages import UNFUSED

FLASH_ATTENTION = (
    "Transformer Engine then takes the attention kernels of cuDNN; without Transformer Engine nothing uses it, since "
    "torch's attention has kernels of its own"
)
VLLM = "on a GPU synthesis.engine=transformers writes much more slowly"
_DISTRIBUTIONS = {"transformer_engine": "transformer-engine", "amp_C": "apex", "flash_attn": "flash-attn"}
_INSTALL = {
    "transformer_engine": "`pip install transformer-engine[pytorch]`",
    "amp_C": "from NVIDIA's repository or containers (the package `apex` on PyPI is something else)",
    "flash_attn": "`pip install flash-attn`",
    "vllm": "`pip install vllm`",
    "scann": "`pip install scann`, or neighbors.engine=exact",
}


def check_packages(subject: Subject) -> Iterator[Finding]:
    """Transformer Engine, Apex, flash attention, vLLM, and ScaNN."""
    for module, name, cost in UNFUSED:
        yield _optional(module, name, cost, subject)
    yield _optional("flash_attn", "flash attention", FLASH_ATTENTION, subject)
    for module, name, cost in (("vllm", "vLLM", VLLM), ("scann", "ScaNN", "no neighbors.engine=scann")):
        yield _engine(module, name, cost, subject)
    for section, python in _interpreters(subject):
        yield _in_environment(
            section, python, in_container=bool(subject.recipe and subject.recipe.slurm.container_image)
        )


def _optional(module: str, name: str, cost: str, subject: Subject) -> Finding:
    if _there(module):
        return ok(name, _version(module))
    if module == "amp_C" and _there("apex"):
        return warn(
            name, "the package `apex` here is not NVIDIA's", f"`pip uninstall apex`; Apex is {_INSTALL[module]}"
        )
    return _absent(module, name, cost, subject)


def _engine(module: str, name: str, cost: str, subject: Subject) -> Finding:
    """A package that a recipe may require."""
    if _there(module):
        return ok(name, _version(module))
    key = subject.recipe and _wanted_by(subject.recipe, module)
    if key and subject.recipe and subject.recipe.slurm.container_image:
        return warn(name, f"is not installed here, but {key} is {module}", "make sure slurm.container_image has it")
    if key:
        return fail(name, f"is not installed, but {key} is {module}", _INSTALL[module])
    if module == "scann" or subject.recipe is not None:
        return ok(name, "is not installed" + (", and the recipe does not need it" if subject.recipe else f": {cost}"))
    return _absent(module, name, cost, subject)


def _absent(module: str, name: str, cost: str, subject: Subject) -> Finding:
    recipe = subject.recipe
    if not subject.wants_gpu or not (_gpu() or _wants_gpus_elsewhere(recipe)):
        return ok(name, "is not installed; it is for GPUs, and none is used here")
    if recipe is not None and recipe.slurm.container_image:
        return warn(name, f"is not installed here: {cost}", "make sure slurm.container_image has it")
    return warn(name, f"is not installed: {cost}", _INSTALL[module])


def _wants_gpus_elsewhere(recipe: Recipe | None) -> bool:
    """Whether a run will use GPUs though none may be here, on a login node."""
    return recipe is not None and (recipe.launch.device == "cuda" or recipe.slurm.gpus_per_node is not None)


def _wanted_by(recipe: Recipe, module: str) -> str | None:
    """The key of the recipe that asks for an engine."""
    if module == "scann":
        return "neighbors.engine" if recipe.neighbors.engine == module else None
    return next((f"{section}.engine" for section, python in _users_of_vllm(recipe) if python is None), None)


def _users_of_vllm(recipe: Recipe) -> Iterator[tuple[str, str | None]]:
    """Sections whose engine is vLLM, and the interpreter that they name."""
    for name in recipe.used_synthesizers:
        chosen = recipe.for_synthesizer(name).synthesis
        if chosen.engine == "vllm":
            yield "synthesis", chosen.vllm.python
    if recipe.embedding.engine == "vllm":
        yield "embedding", recipe.embedding.vllm.python


def _interpreters(subject: Subject) -> dict[tuple[str, Path], None]:
    """Interpreters that the recipe names for vLLM, with their sections, each once."""
    recipe = subject.recipe
    if recipe is None:
        return {}
    return {(section, recipe.folder / python): None for section, python in _users_of_vllm(recipe) if python}


def _in_environment(section: str, python: Path, in_container: bool) -> Finding:
    """Whether another environment has vLLM and this package."""
    name, key = f"vLLM ({section})", f"{section}.vllm.python"
    if not python.exists() and in_container:
        return warn(name, f"{key}: no such file here: {python}", "make sure slurm.container_image has it")
    if not python.exists():
        return fail(name, f"{key}: no such file: {python}", "name an interpreter that nodes can reach")
    try:
        command = [str(python), "-P", "-c", _SEEN_FROM]
        variables = with_path(dict(os.environ), path_elsewhere())  # as the stage does when it starts there
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)
        missing = done.stdout.split() if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        missing = None
    if missing is None:
        return fail(name, f"{key}: {python} does not run", "name an interpreter that nodes can run")
    if missing:
        return fail(name, f"{key}: {python} lacks {' and '.join(missing)}", "install them in its environment")
    return ok(name, f"{python} has vLLM and this package")


_SEEN_FROM = (
    "import importlib.util\n"
    "print(*(name for name in ('vllm', 'megatron_sbp') if importlib.util.find_spec(name) is None))"
)


def _gpu() -> bool:
    from megatron_sbp.base.device import compute_device

    try:
        return compute_device("auto") == "cuda"
    except (ImportError, InputError):
        return False


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return "is installed"
