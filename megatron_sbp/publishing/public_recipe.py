"""The recipe as published: without what belongs to one machine or one site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from megatron_sbp.base.untyped import JsonObject, JsonValue
from megatron_sbp.recipe import JudgeEndpoint, Recipe
from megatron_sbp.recipe.sections import Launch, Slurm, Synthesizer


def public_recipe(recipe: Recipe) -> Recipe:
    """The recipe without what belongs to one machine or one site: folders, processes, Slurm."""

    def name(path: str) -> str:
        return PurePath(path).name if PurePath(path).is_absolute() or path.startswith("~") else path

    def named(path: str | None) -> str | None:
        return None if path is None else name(path)

    def flags(section: Mapping[str, JsonValue]) -> JsonObject:
        given = {key: name(value) if isinstance(value, str) else value for key, value in section["megatron"].items()}
        return {**section, "megatron": given}

    def overrides(about: Synthesizer) -> Synthesizer:
        tuning, synthesis, rules = dict(about.tuning), dict(about.synthesis), dict(about.filter)
        if "predicate" in rules:
            rules["predicate"] = named(rules["predicate"])
        if "start" in tuning:
            tuning["start"] = named(tuning["start"])
        if isinstance(synthesis.get("vllm"), dict) and "python" in synthesis["vllm"]:
            synthesis["vllm"] = {**synthesis["vllm"], "python": named(synthesis["vllm"]["python"])}
        return about.model_copy(update={"tuning": tuning, "synthesis": synthesis, "filter": rules})

    vllm = recipe.synthesis.vllm.model_copy(update={"python": named(recipe.synthesis.vllm.python)})
    pooling = recipe.embedding.vllm.model_copy(update={"python": named(recipe.embedding.vllm.python)})
    documents = recipe.documents.model_copy(update={"inputs": [name(path) for path in recipe.documents.inputs]})
    evaluation = recipe.evaluation.model_copy(
        update={
            "questions": named(recipe.evaluation.questions),
            "judge": named(recipe.evaluation.judge),
            "judge_endpoint": JudgeEndpoint.model_validate({}),
            "harness": recipe.evaluation.harness.model_copy(
                update={key: named(getattr(recipe.evaluation.harness, key)) for key in ("task_folder", "python")}
            ),
        }
    )
    changed = {
        "documents": documents,
        "evaluation": evaluation,
        "tokenizer": recipe.tokenizer.model_copy(update={"path": named(recipe.tokenizer.path)}),
        "filter": recipe.filter.model_copy(update={"predicate": named(recipe.filter.predicate)}),
        "tuning": recipe.tuning.model_copy(update={"start": named(recipe.tuning.start)}),
        "synthesis": recipe.synthesis.model_copy(update={"vllm": vllm}),
        "synthesizers": {writer: overrides(about) for writer, about in recipe.synthesizers.items()},
        "embedding": recipe.embedding.model_copy(update={"model": name(recipe.embedding.model), "vllm": pooling}),
        "launch": Launch.model_validate({}),
        "slurm": Slurm.model_validate({}),
        "training": recipe.training.model_copy(update=flags({"megatron": recipe.training.megatron})),
        "arms": {
            arm: about.model_copy(update={"training": flags(about.training)}) if "megatron" in about.training else about
            for arm, about in recipe.arms.items()
        },
        "run_folder": None,
    }
    return recipe.model_copy(update=changed)
