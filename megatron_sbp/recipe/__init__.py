"""The recipe: all settings of a run, read from YAML and checked before anything runs.

`load_recipe(path, overrides)` is the entry point. It imports neither torch nor Megatron, so `sbp plan` is fast. The
keys and their docstrings are in sections/.
"""

from megatron_sbp.recipe.reading import dump_recipe, lines_in, load_recipe, make_section, override
from megatron_sbp.recipe.sections import (
    Arm,
    Documents,
    Embedding,
    Evaluation,
    Filter,
    JudgeEndpoint,
    Launch,
    Model,
    Neighbors,
    Pairs,
    Recipe,
    Section,
    Slurm,
    Synthesis,
    Tokenizer,
    Training,
    Tuning,
    Vllm,
    settings,
)

__all__ = [
    "Arm",
    "Documents",
    "Embedding",
    "Evaluation",
    "Filter",
    "JudgeEndpoint",
    "Launch",
    "Model",
    "Neighbors",
    "Pairs",
    "Recipe",
    "Section",
    "Slurm",
    "Synthesis",
    "Tokenizer",
    "Training",
    "Tuning",
    "Vllm",
    "dump_recipe",
    "lines_in",
    "load_recipe",
    "make_section",
    "override",
    "settings",
]
