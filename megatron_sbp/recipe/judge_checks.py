"""Checks of `evaluation.judge_endpoint`. No message repeats an address, which may contain a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from megatron_sbp.recipe.sections import Recipe

SECTION = "evaluation.judge_endpoint"


def check_judge_endpoint(recipe: Recipe) -> None:
    """Raises InputError if the endpoint is incomplete, combined with another judge, or more than an address."""
    endpoint = recipe.evaluation.judge_endpoint
    if endpoint.base_url is None:
        if endpoint.model is not None:
            raise recipe.error(f"{SECTION}.base_url", f"is required when {SECTION}.model is given")
        return
    if recipe.evaluation.judge is not None:
        raise recipe.error(f"{SECTION}.base_url", "evaluation.judge names a judge too: remove one of them")
    if endpoint.model is None or not endpoint.model.strip():
        raise recipe.error(f"{SECTION}.model", "is required when base_url is given")
    if not _is_address(endpoint.base_url):
        raise recipe.error(
            f"{SECTION}.base_url",
            "must be http://HOST/PATH or https://HOST/PATH and nothing more; keys and passwords belong in the "
            "environment variable that api_key_variable names",
        )
    variable = endpoint.api_key_variable
    if variable is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
        raise recipe.error(
            f"{SECTION}.api_key_variable", "must be the name of an environment variable (not the key itself)"
        )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # a ValueError if it is not a number
    except ValueError:
        return False
    whole = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", text)
    return whole and not (parts.query or parts.fragment or "@" in parts.netloc)
