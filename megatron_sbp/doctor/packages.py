"""Optional packages: which are there, and what it costs that the others are not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator

from megatron_sbp.base.errors import InputError
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


def _optional(module: str, name: str, cost: str, subject: Subject) -> Finding:
    if _there(module):
        return ok(name, _version(module))
    if module == "amp_C" and _there("apex"):
        return warn(
            name, "the package `apex` here is not NVIDIA's", f"`pip uninstall apex`; Apex is {_INSTALL[module]}"
        )
    return _absent(module, name, cost, subject)


def _engine(module: str, name: str, cost: str, subject: Subject) -> Finding:
    """A package that a recipe can ask for by name, and then fails without."""
    if _there(module):
        return ok(name, _version(module))
    key = subject.recipe and _wanted_by(subject.recipe, module)
    if key and subject.recipe and subject.recipe.slurm.container_image:
        return warn(name, f"is not installed here, and {key} is {module}", "see that slurm.container_image has it")
    if key:
        return fail(name, f"is not installed, and {key} is {module}", _INSTALL[module])
    if module == "scann" or subject.recipe is not None:
        return ok(
            name, "is not installed" + (", and the recipe does not ask for it" if subject.recipe else f": {cost}")
        )
    return _absent(module, name, cost, subject)


def _absent(module: str, name: str, cost: str, subject: Subject) -> Finding:
    if not (subject.wants_gpu and _gpu()):
        return ok(name, "is not installed; it is for GPUs, and none is used here")
    return warn(name, f"is not installed: {cost}", _INSTALL[module])


def _wanted_by(recipe: Recipe, module: str) -> str | None:
    """The key of the recipe that asks for an engine."""
    if module == "scann":
        return "neighbors.engine" if recipe.neighbors.engine == module else None
    engines = [recipe.for_synthesizer(name).synthesis.engine for name in recipe.used_synthesizers]
    if module in engines:
        return "synthesis.engine"
    return "embedding.engine" if recipe.embedding.engine == module else None


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
