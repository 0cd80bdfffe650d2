"""The sections of a recipe: every setting of a run, with its type and range.

The docstring under a field is its documentation, also in `sbp schema`. Lengths are in tokens unless stated otherwise.
Ranges reject invalid values; a merely unwise value gets a warning in the plan. `null` in YAML is None here.
"""

from megatron_sbp.recipe.sections.arms import CLASSIC_ARMS, Arm, Synthesizer
from megatron_sbp.recipe.sections.documents import Documents, Tokenizer
from megatron_sbp.recipe.sections.evaluation import Evaluation, Harness, JudgeEndpoint
from megatron_sbp.recipe.sections.launch import Launch, Slurm, SlurmJobs
from megatron_sbp.recipe.sections.pairing import CONTROL_RELATIONS, Embedding, Neighbors, Pairs, VllmPooling
from megatron_sbp.recipe.sections.recipe import Recipe, error_at
from megatron_sbp.recipe.sections.section import Section, settings
from megatron_sbp.recipe.sections.synthesis import Filter, Synthesis, Vllm
from megatron_sbp.recipe.sections.training import Model, Training, Tuning

__all__ = [
    "CLASSIC_ARMS",
    "CONTROL_RELATIONS",
    "Arm",
    "Documents",
    "Embedding",
    "Evaluation",
    "Filter",
    "Harness",
    "JudgeEndpoint",
    "Launch",
    "Model",
    "Neighbors",
    "Pairs",
    "Recipe",
    "Section",
    "Slurm",
    "SlurmJobs",
    "Synthesis",
    "Synthesizer",
    "Tokenizer",
    "Training",
    "Tuning",
    "Vllm",
    "VllmPooling",
    "error_at",
    "settings",
]
