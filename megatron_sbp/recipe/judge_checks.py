"""What `evaluation.judge_endpoint` must not say. No message repeats an address that may hold a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from megatron_sbp.recipe.sections import Recipe

SECTION = "evaluation.judge_endpoint"


def check_judge_endpoint(recipe: Recipe) -> None:
    """Raises InputError where the endpoint is half named, beside another judge, or holds more than an address."""
    endpoint = recipe.evaluation.judge_endpoint
    if endpoint.base_url is None:
        if endpoint.model is not None:
            raise recipe.error(f"{SECTION}.base_url", f"is not given, and {SECTION}.model is: where is it asked?")
        return
    if recipe.evaluation.judge is not None:
        raise recipe.error(f"{SECTION}.base_url", "evaluation.judge names a judge too: leave one of them out")
    if endpoint.model is None or not endpoint.model.strip():
        raise recipe.error(f"{SECTION}.model", "is not given, and base_url is: which model is asked?")
    if not _is_address(endpoint.base_url):
        raise recipe.error(
            f"{SECTION}.base_url",
            "must be http://HOST/PATH or https://HOST/PATH and nothing more; keys and passwords belong into the "
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
        _ = parts.port  # a ValueError when it is no number
    except ValueError:
        return False
    whole = parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", text)
    return whole and not (parts.query or parts.fragment or "@" in parts.netloc)
