"""More generations when too few tokens passed the filters: `filter` plans them, and `synthesize` writes them."""

from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.user_functions import predicate_place
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.synthesis.extension import Round, further_generations


def needed_synthetic_tokens(recipe: Recipe) -> int:
    """Tokens that tokens/synthetic must have: every sequence of the SBP arm once, and one more token to predict."""
    return ledger.synthetic_samples(recipe) * recipe.model.sequence_length + 1


def planned_more(run: Run) -> int:
    """Total generations planned because fewer left too few tokens; 0 if fewer were enough.

    Measurements under other filters do not count.
    """
    rounds, planned = _read(run)
    needed = needed_synthetic_tokens(run.recipe)
    enough = [one.generations for one in rounds if one.tokens >= needed]
    return min(enough, default=planned)


def plan_more(run: Run) -> int:
    """Plans more generations if too few of the existing ones passed.

    Args:
        run: whose stage `filter` is finished.

    Returns:
        How many are planned in total; 0 if none are needed, or if more would not help.
    """
    audit, needed = files.read_json(run.audit_synthetic), needed_synthetic_tokens(run.recipe)
    found = Round(audit["generations"], audit["tokens"], audit["generated_tokens"])
    if found.tokens >= needed or not found.generations:
        return 0
    rounds = [*(one for one in _read(run)[0] if one.generations < found.generations), found]
    planned = further_generations(rounds, needed)
    if planned is None:
        return 0
    told = {"generations": planned, "rounds": [one._asdict() for one in rounds], "filter": _rules(run)}
    if run.recipe.filter.predicate is not None:
        told["predicate"] = _predicate(run)
    files.write_json(run.more_generations, told)
    say(
        f"filter: {found.tokens:,} tokens are left of {found.generations:,} generations, {needed:,} are needed: "
        f"{planned - found.generations:,} more generations are planned"
    )
    return planned


def _read(run: Run) -> tuple[list[Round], int]:
    """Rounds under the present filters, and the generations that were planned after the last of them.

    These stay planned when the user's function has changed, so that an edit discards no text.
    """
    if not run.more_generations.exists():
        return [], 0
    try:
        value = files.read_json(run.more_generations)
        if value["filter"] != _rules(run):
            return [], 0
        predicate = _predicate(run)
        same = value.get("predicate", predicate) == predicate
        return [Round(**one) for one in value["rounds"] if same], int(value["generations"])
    except (InputError, LookupError, TypeError, ValueError):  # not as the program wrote it: it is only a plan
        return [], 0


def _rules(run: Run) -> JsonObject:
    rules = run.recipe.filter.model_dump(mode="json")
    if rules["broken_text"] == "drop":  # as before there was this key: plans of earlier versions stay valid
        del rules["broken_text"]
    for key in ("max_token_repetition", "max_periodic_tail"):
        if rules[key] is None:
            del rules[key]
    return rules


def _predicate(run: Run) -> str | None:
    """Digest of the file of the user's function, which the rules name; None if there is no such file."""
    place = predicate_place(run.recipe)
    return None if place is None or not place.file.is_file() else files.sha256(place.file)
