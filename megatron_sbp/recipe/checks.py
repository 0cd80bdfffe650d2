"""Cross-checks of a recipe: unusable text, and values that contradict each other."""

from __future__ import annotations

import re

from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.recipe.arm_checks import check_arms
from megatron_sbp.recipe.harness_checks import check_harness_section
from megatron_sbp.recipe.judge_checks import check_judge_endpoint
from megatron_sbp.recipe.names import MOST_SHARDS, SPLITS
from megatron_sbp.recipe.planned_flags import check_planned_flags
from megatron_sbp.recipe.sections import Documents, Recipe, Section

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A name that becomes part of paths and of job names."""


def check_recipe(recipe: Recipe) -> None:
    """Raises InputError for the first invalid value."""
    _check_words(recipe)
    check_judge_endpoint(recipe)
    check_harness_section(recipe)
    _check_shards(recipe)
    _check_leaves(recipe)
    _check_sections(recipe)
    check_arms(recipe, _check_sections)


def _check_sections(recipe: Recipe) -> None:
    check_planned_flags(recipe)
    _check_model(recipe)
    _check_batches(recipe)
    _check_lengths(recipe)
    _check_tokens(recipe)
    _check_pairs(recipe)


def value_of(recipe: Recipe, key: str) -> JsonValue:
    """The value of a dotted key."""
    value: object = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


def all_keys(section: type[Section] = Recipe, prefix: str = "") -> list[str]:
    """Dotted keys of a recipe, including those of whole sections."""
    keys = []
    for name, spec in section.model_fields.items():
        keys.append(prefix + name)
        if isinstance(spec.annotation, type) and issubclass(spec.annotation, Section):
            keys += all_keys(spec.annotation, f"{prefix}{name}.")
    return keys


def _check_words(recipe: Recipe) -> None:
    if not NAME.fullmatch(recipe.name):
        raise recipe.error(
            "name",
            "becomes part of paths and job names: it must be 1 to 100 characters from A-Z a-z 0-9 . _ - and begin "
            f"with a letter or a digit, not {recipe.name[:120]!r}",
        )
    if not recipe.documents.inputs:
        raise recipe.error("documents.inputs", "names no file")
    empty = ("documents.text_field", "tokenizer.end_of_document", "tokenizer.padding", "tokenizer.separator")
    for key in (*empty, "embedding.model"):
        if not value_of(recipe, key).strip():
            raise recipe.error(key, "is empty")
    for key in ("documents.id_field", "tokenizer.path", "tuning.start", "run_folder"):
        if value_of(recipe, key) == "":
            raise recipe.error(key, "is empty; null leaves it out")
    group = recipe.evaluation.question_group_field
    if group is not None and group not in recipe.documents.keep_fields:
        raise recipe.error("evaluation.question_group_field", f"'{group}' is not among documents.keep_fields")
    for key in ("question_group_field", "recall_points"):
        if getattr(recipe.evaluation, key) and recipe.evaluation.questions is None:
            raise recipe.error(f"evaluation.{key}", "is set, but evaluation.questions names no file")
    roles: dict[str, str] = {}
    for role in ("end_of_document", "padding", "separator"):
        token = getattr(recipe.tokenizer, role)
        if token in roles:
            raise recipe.error(f"tokenizer.{role}", f"{token!r} is tokenizer.{roles[token]} already")
        roles[token] = role
    if recipe.slurm.container_runtime == "edf" and recipe.slurm.container_mounts:
        raise recipe.error("slurm.container_mounts", "is for pyxis and apptainer: an environment file names its mounts")
    known = set(all_keys())
    for key in recipe.marks:
        if key not in known:
            raise recipe.error("marks", f"marks '{key}', which is not a recipe key")


def _check_model(recipe: Recipe) -> None:
    model, launch = recipe.model, recipe.launch
    heads, groups = model.num_attention_heads, model.num_query_groups
    smallest = 256 + 3  # every byte, and a token for every role
    if recipe.tokenizer.path is None and recipe.tokenizer.vocab_size < smallest:
        raise recipe.error("tokenizer.vocab_size", f"must be {smallest} or more (256 bytes and 3 special tokens)")
    if model.kv_channels is None and model.hidden_size % heads:
        raise recipe.error("model.num_attention_heads", f"{heads} does not divide hidden_size {model.hidden_size}")
    if model.head_size % 2:
        raise recipe.error(
            "model.kv_channels", f"a head of {model.head_size} channels cannot be rotated: it must be even"
        )
    if not model.rotary_base.is_integer():
        raise recipe.error(
            "model.rotary_base", f"must be a whole number, as Megatron takes it, not {model.rotary_base}"
        )
    if heads % groups:
        raise recipe.error("model.num_query_groups", f"{groups} does not divide {heads} heads")
    for size, key in (
        (heads, "num_attention_heads"),
        (groups, "num_query_groups"),
        (model.ffn_hidden_size, "ffn_hidden_size"),
    ):
        if size % launch.tensor_parallel:
            raise recipe.error("launch.tensor_parallel", f"{launch.tensor_parallel} does not divide model.{key} {size}")
    if model.num_layers % launch.pipeline_parallel:
        raise recipe.error(
            "launch.pipeline_parallel", f"{launch.pipeline_parallel} does not divide {model.num_layers} layers"
        )


def check_layout(recipe: Recipe) -> None:
    """Raises InputError for ranks that cannot share the layers or a batch."""
    launch = recipe.launch
    ranks = launch.nodes * launch.ranks_per_node
    split = launch.tensor_parallel * launch.pipeline_parallel * launch.context_parallel
    if ranks % split:
        raise recipe.error(
            "launch.ranks_per_node",
            f"{ranks} ranks are not a multiple of tensor x pipeline x context parallel = {split}",
        )
    for section, name in ((recipe.training, "training"), (recipe.tuning, "tuning")):
        step = section.micro_batch_size * (ranks // split)
        if section.global_batch_size % step:
            raise recipe.error(
                f"{name}.global_batch_size",
                f"{section.global_batch_size} is not a multiple of micro_batch_size x data-parallel ranks = {step}",
            )


def _check_batches(recipe: Recipe) -> None:
    launch = recipe.launch
    if recipe.synthesis.engine == "vllm" and recipe.synthesis.temperature > 2:
        raise recipe.error("synthesis.temperature", f"vLLM takes 2 at most, not {recipe.synthesis.temperature}")
    if launch.device == "cpu" and launch.context_parallel > 1:
        raise recipe.error("launch.context_parallel", "needs Transformer Engine on GPUs, and launch.device is cpu")
    pieces = 2 * launch.context_parallel  # every rank gets two chunks, one from the beginning and one from the end
    if launch.context_parallel > 1 and recipe.model.sequence_length % pieces:
        raise recipe.error(
            "launch.context_parallel",
            f"model.sequence_length {recipe.model.sequence_length} is not a multiple of 2 x {launch.context_parallel}",
        )
    check_layout(recipe)
    if recipe.training.min_learning_rate > recipe.training.learning_rate:
        raise recipe.error(
            "training.min_learning_rate",
            f"{recipe.training.min_learning_rate} is above the peak {recipe.training.learning_rate}",
        )

    lowest, peak = recipe.tuning.min_learning_rate, recipe.tuning.learning_rate
    if lowest is not None and lowest > peak:
        raise recipe.error("tuning.min_learning_rate", f"must be between 0 and the peak {peak}, not {lowest}")


def too_many_shards(documents: Documents, split: str, size: int | None) -> str | None:
    """The problem with documents_per_shard for a split of this size, or None."""
    if size is None or size <= MOST_SHARDS * documents.documents_per_shard:
        return None
    shards = -(-size // documents.documents_per_shard)
    return (
        f"{size:,} {split} documents are {shards:,} shards of {documents.documents_per_shard:,}, but at most "
        f"{MOST_SHARDS:,} are allowed: it must be at least {-(-size // MOST_SHARDS):,}"
    )


def _check_shards(recipe: Recipe) -> None:
    for split in SPLITS:
        wrong = too_many_shards(recipe.documents, split, getattr(recipe.documents, split))
        if wrong is not None:
            raise recipe.error("documents.documents_per_shard", wrong)


def _check_leaves(recipe: Recipe) -> None:
    """`pairing/neighbors/scann_plan.py` refuses them too, but only after all documents have been embedded."""
    neighbors = recipe.neighbors
    if neighbors.engine != "scann" or neighbors.leaves is None:
        return
    for split in ("train", "valid"):
        documents = getattr(recipe.documents, split)
        if neighbors.leaves > documents:
            raise recipe.error("neighbors.leaves", f"{neighbors.leaves} is more than documents.{split} {documents}")
    if neighbors.leaves_to_search is not None and neighbors.leaves_to_search > neighbors.leaves:
        raise recipe.error(
            "neighbors.leaves_to_search", f"{neighbors.leaves_to_search} is more than the {neighbors.leaves} leaves"
        )


def beyond_context(max_seed_tokens: int, max_new_tokens: int, context: int) -> str | None:
    """Why a seed document and a text may exceed a synthesizer's context, in tokens; None if they fit."""
    if max_seed_tokens + 1 + max_new_tokens <= context:
        return None
    return (
        f"a seed of {max_seed_tokens}, the separator and {max_new_tokens} new tokens do not fit into the context of "
        f"{context}"
    )


def _check_lengths(recipe: Recipe) -> None:
    context = recipe.model.sequence_length
    if recipe.max_target_tokens < 1:  # it defaults to what the seed leaves
        raise recipe.error(
            "tuning.max_seed_tokens",
            f"a seed of {recipe.max_seed_tokens} and 2 special tokens leave no room for a target in a sequence of "
            f"{recipe.pair_room}",
        )
    if recipe.max_seed_tokens + recipe.max_target_tokens + 2 > recipe.pair_room:
        raise recipe.error(
            "tuning.max_seed_tokens",
            f"a seed of {recipe.max_seed_tokens}, a target of {recipe.max_target_tokens} and 2 special tokens do not "
            f"fit into a sequence of {recipe.pair_room}",
        )
    beyond = beyond_context(recipe.max_seed_tokens, recipe.max_new_tokens, context)
    if beyond:
        raise recipe.error("synthesis.max_new_tokens", beyond)
    questions = recipe.evaluation
    if questions.choice_context + questions.choice_continuation > context:
        raise recipe.error(
            "evaluation.choice_context",
            f"a context of {questions.choice_context} and evaluation.choice_continuation "
            f"{questions.choice_continuation} do not fit into model.sequence_length {context}",
        )


def _check_tokens(recipe: Recipe) -> None:
    tokens, budget = recipe.synthesis.tokens, recipe.training.train_tokens
    if tokens >= budget:
        raise recipe.error("synthesis.tokens", f"{tokens} must be below training.train_tokens {budget}")
    if tokens < recipe.model.sequence_length:
        raise recipe.error("synthesis.tokens", f"{tokens} do not fill one sequence of {recipe.model.sequence_length}")


def _check_pairs(recipe: Recipe) -> None:
    pairs, kept = recipe.pairs, recipe.documents.keep_fields
    for key in ("same_fields", "different_fields"):
        for name in getattr(pairs, key):
            if name not in kept or name in ("id", "text"):
                raise recipe.error(f"pairs.{key}", f"'{name}' is not among documents.keep_fields")
            if key == "different_fields" and name in pairs.same_fields:
                raise recipe.error(f"pairs.{key}", f"'{name}' is in same_fields already")
    if (most := pairs.max_target_tokens) is not None and most < pairs.min_target_tokens:
        raise recipe.error("pairs.max_target_tokens", f"{most} is below min_target_tokens {pairs.min_target_tokens}")
    if pairs.max_similarity is not None and pairs.max_similarity <= pairs.alpha:
        raise recipe.error("pairs.max_similarity", f"{pairs.max_similarity} is not above alpha {pairs.alpha}")
