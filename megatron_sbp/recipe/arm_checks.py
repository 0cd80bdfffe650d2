"""Checks of a recipe's arms and synthesizers."""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import ValidationError

from megatron_sbp.base.errors import InputError
from megatron_sbp.recipe.messages import explain
from megatron_sbp.recipe.sections import Arm, Recipe, Synthesizer

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
"""A name that becomes part of file and stage names (`tune.random.2`) and of keys in results.json (`sbp-baseline`)."""

TAKEN = ("synthesizer", "start", "quality", "reading")
"""Reserved names: other files use them."""

EQUAL = ("train_tokens", "global_batch_size")
"""Keys of `training` that decide how many tokens an arm reads."""


def check_arms(recipe: Recipe, check: Callable[[Recipe], None]) -> None:
    """Raises InputError for the first invalid arm or synthesizer.

    Args:
        recipe: the recipe.
        check: raises InputError for a recipe whose sections contradict each other.
    """
    if not recipe.arms:
        raise recipe.error("arms", "names no arm; leave the key out for baseline, sbp and oracle")
    for section in ("synthesizers", "arms"):
        for name, about in getattr(recipe, section).items():
            _check_name(recipe, section, name)
            _check_overrides(recipe, f"{section}.{name}", about, check)
            if isinstance(about, Synthesizer):
                _check_method(recipe, name, about)
                _check_index(recipe, name, about)
    for name, arm in recipe.arms.items():
        if arm.synthetic is not None and arm.synthetic not in recipe.synthesizers:
            known = ", ".join(recipe.synthesizers) or "none"
            raise recipe.error(
                f"arms.{name}.synthetic", f"there is no synthesizer '{arm.synthetic}'; synthesizers: {known}"
            )
        _check_synthetic(recipe, name, arm)
        for key in EQUAL:
            if key in arm.training:
                raise recipe.error(
                    f"arms.{name}.training.{key}", "must be the same for all arms: they are compared at equal tokens"
                )
    for name in recipe.used_synthesizers:
        _check_filter(recipe, name)
    for split in ("train", "valid") if recipe.tuned_synthesizers else ():
        if getattr(recipe.documents, split) < 2:
            raise recipe.error(f"documents.{split}", "1 document has none to be paired with: it must be 2 or more")
    for check_start in (_check_start_arm, _check_rounds):
        for name in recipe.used_synthesizers:
            check_start(recipe, name)


def _check_start_arm(recipe: Recipe, synthesizer: str) -> None:
    """A synthesizer starts from an existing arm."""
    arm = recipe.start_arm_of(synthesizer)
    if arm is None or arm in recipe.arms:
        return
    if arm == "baseline":
        message = f"has no 'baseline', from which the synthesizer '{synthesizer}' starts (tuning.start)"
        raise recipe.error("arms", message)
    raise recipe.error(_start_key(recipe, synthesizer), f"there is no arm '{arm}'; arms: {', '.join(recipe.arms)}")


def _check_rounds(recipe: Recipe, synthesizer: str) -> None:
    """A synthesizer's starting model can be trained before it."""
    rounds, arm = [synthesizer], recipe.start_arm_of(synthesizer)
    while arm is not None and (writer := recipe.arms[arm].synthetic) is not None:
        if writer in rounds:
            circle = " <- ".join([*rounds, writer])
            raise recipe.error(_start_key(recipe, synthesizer), f"is a cycle of synthesizers: {circle}")
        rounds.append(writer)
        arm = recipe.start_arm_of(writer)


def _start_key(recipe: Recipe, synthesizer: str) -> str:
    own = f"synthesizers.{synthesizer}.tuning.start_arm"
    return own if own in recipe.lines else "tuning.start_arm"


def _check_method(recipe: Recipe, name: str, about: Synthesizer) -> None:
    """A control without pairs ignores settings of pairs."""
    if about.method != "tuned":
        for section in ("pairs", "tuning"):
            if getattr(about, section):
                raise recipe.error(
                    f"synthesizers.{name}.{section}",
                    f"has no effect: a synthesizer of method '{about.method}' is not tuned on pairs",
                )
    if about.method != "replacement" and about.replaced != Synthesizer.model_fields["replaced"].default:
        raise recipe.error(f"synthesizers.{name}.replaced", f"has no effect with method '{about.method}'")


def _check_index(recipe: Recipe, name: str, about: Synthesizer) -> None:
    """There is a single index of D, with the recipe's top-level settings."""
    if "corpus_index_gb" in about.filter:
        raise recipe.error(
            f"synthesizers.{name}.filter.corpus_index_gb", "must be the same for all: they share one index of D"
        )
    own = recipe.for_synthesizer(name)
    if own.filter.max_corpus_copying is not None and own.pairs.shingle_tokens != recipe.pairs.shingle_tokens:
        raise recipe.error(
            f"synthesizers.{name}.pairs.shingle_tokens",
            f"{own.pairs.shingle_tokens} is not that of the index of D, {recipe.pairs.shingle_tokens}, which "
            "filter.max_corpus_copying looks up",
        )


def _check_filter(recipe: Recipe, name: str) -> None:
    """A model's texts can be as long as the filter requires."""
    own, key = recipe.for_synthesizer(name), "filter.min_tokens"
    if recipe.synthesizers[name].method != "replacement" and own.filter.min_tokens > own.max_new_tokens:
        place = f"synthesizers.{name}.{key}"
        raise recipe.error(
            place if "min_tokens" in recipe.synthesizers[name].filter else key,
            f"{own.filter.min_tokens} is above the {own.max_new_tokens} tokens that a text can have "
            "(synthesis.max_new_tokens): all would be dropped",
        )


def _check_synthetic(recipe: Recipe, name: str, arm: Arm) -> None:
    """An arm's settings for synthetic text."""
    for key in ("synthetic_share", "order"):
        if arm.synthetic is None and getattr(arm, key) != Arm.model_fields[key].default:
            raise recipe.error(f"arms.{name}.{key}", f"the arm reads no synthetic text (arms.{name}.synthetic)")


def _check_name(recipe: Recipe, section: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise recipe.error(
            f"{section}.{name}",
            "becomes part of file and stage names: it must be 1 to 40 characters from A-Z a-z 0-9 _ and begin with a "
            f"letter, not {name[:60]!r}",
        )
    if name in TAKEN:
        raise recipe.error(f"{section}.{name}", f"is taken by other files ({', '.join(TAKEN)})")


def _check_overrides(recipe: Recipe, place: str, about: Arm | Synthesizer, check: Callable[[Recipe], None]) -> None:
    for section, overrides in about:
        if not isinstance(overrides, dict) or not overrides:
            continue
        try:
            found = recipe.overridden(section, overrides)
        except ValidationError as error:
            key, reason = explain(error, type(getattr(recipe, section)))
            raise recipe.error(f"{place}.{section}.{key}", reason) from None
        try:
            check(found)
        except InputError as error:
            raise recipe.error(f"{place}.{section}", f"{error.key}: {error.reason}") from None
