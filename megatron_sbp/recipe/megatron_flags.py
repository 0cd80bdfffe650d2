"""Checks `training.megatron` against Megatron's own argument parser, before the hours of work that precede training.

Importing Megatron takes many seconds, so its parser is queried in a separate process, once per version; the answer is
stored in the user's cache folder ($XDG_CACHE_HOME/megatron-sbp, or ~/.cache/megatron-sbp).
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from megatron_sbp import __version__
from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.processes import die_with_parent, python_path
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.recipe.planned_flags import KEY
from megatron_sbp.recipe.sections import Recipe

TIMEOUT = 600
"""Timeout in seconds for Megatron's import, which is slow on a busy network file system."""

Flags = dict[str, JsonObject]
"""By name without leading dashes: `values` (none, one, some), `type` (int, float, or text), `choices` (None: any)."""

_PROGRAM = """
import argparse, enum, json, warnings
warnings.filterwarnings("ignore")
from megatron_sbp.base import process_end
from megatron_sbp.base.collector import collect_rarely
collect_rarely()
from megatron.training.arguments import add_megatron_arguments
from megatron_sbp.training.rank_flags import add_arguments

parser = argparse.ArgumentParser(allow_abbrev=False)
found = {}
for action in add_arguments(add_megatron_arguments(parser) or parser)._actions:
    kind = action.type.__name__ if action.type in (int, float) else "text"
    plain = action.choices is not None and not any(isinstance(choice, enum.Enum) for choice in action.choices)
    choices = [str(choice) for choice in action.choices] if plain else None
    values = "none" if action.nargs == 0 else "one" if action.nargs in (None, "?") else "some"
    for word in action.option_strings:
        if word.startswith("--") and word != "--help":
            found[word[2:]] = {"values": values, "type": kind, "choices": choices}
print("\\n" + json.dumps(found))
process_end.end(0)
"""


def check_megatron_flags(recipe: Recipe) -> None:
    """Raises InputError for a flag that Megatron does not know, or a value that its parser would reject.

    Flags of all arms are checked, too. If Megatron cannot be queried, a message says so and nothing is checked.
    """
    given = [(f"{KEY}.{name}", name, value) for name, value in recipe.training.megatron.items()]
    for arm, chosen in recipe.arms.items():
        own = recipe.for_arm(arm).training.megatron if "megatron" in chosen.training else {}
        given += [(f"arms.{arm}.{KEY}.{name}", name, value) for name, value in own.items()]
    if not given:
        return
    known = megatron_flags()
    if known is None:
        return
    for key, name, value in given:
        if name not in known:
            # Also accepts the Python spelling of the names.
            near = difflib.get_close_matches(name.replace("_", "-")[:100], known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise recipe.error(key, f"Megatron has no flag --{name}{hint}")
        wrong = _wrong(value, known[name])
        if wrong:
            raise recipe.error(key, f"Megatron's --{name} {wrong}, not {value!r}")


def megatron_flags() -> Flags | None:
    """Flags of the installed Megatron; None, after a message with the reason, if it cannot be queried."""
    try:
        version = importlib.metadata.version("megatron-core")
        missing = importlib.util.find_spec("megatron.training") is None
    except (importlib.metadata.PackageNotFoundError, ModuleNotFoundError):
        missing = True
    if missing:
        say(f"{KEY} was not checked: Megatron is not installed here")
        return None
    file = _cache_folder() / f"megatron-flags-{version}-{__version__}.json"
    cached = _read(file)
    if cached is not None:
        return cached
    say("reading Megatron's flags (once per version)")
    environment = {**os.environ, "PYTHONPATH": python_path(), "CUDA_VISIBLE_DEVICES": ""}
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env=environment,
            preexec_fn=die_with_parent,
        )
        flags: Flags = json.loads(answer.stdout.strip().rpartition("\n")[2]) if answer.returncode == 0 else {}
        reason = answer.stderr.strip().rpartition("\n")[2]
    except (subprocess.TimeoutExpired, ValueError) as error:
        flags, reason = {}, str(error)
    if not flags:
        say(f"{KEY} was not checked: Megatron's argument parser could not be run ({reason})")
        return None
    with contextlib.suppress(OSError):  # not cached: queried again next time
        files.write_json(file, flags)
    return flags


def _cache_folder() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore relative paths.
    base = given if given.startswith("/") else files.home_expanded("~/.cache")
    # A user in a container may have no home folder, and so no cache.
    return Path(base if base.startswith("/") else os.devnull) / "megatron-sbp"


def _read(file: Path) -> Flags | None:
    try:
        flags = files.read_json(file)
        usable = all(entry.keys() == {"values", "type", "choices"} for entry in flags.values())
    except (OSError, InputError, AttributeError):
        return None
    return flags if flags and usable else None


def _wrong(value: object, flag: JsonObject) -> str | None:
    """What the flag needs instead of this value, or None. false and null omit a flag."""
    if value is None or value is False:
        return None
    if flag["values"] == "none":
        return None if value is True else "takes no value: it must be true or false"
    if value is True:
        return "needs a value"
    if isinstance(value, list) and flag["values"] == "one":
        return "takes one value"
    for part in value if isinstance(value, list) else [value]:
        if flag["choices"] is not None and str(part) not in flag["choices"]:
            return f"must be one of {', '.join(flag['choices'])}"
        if flag["type"] != "text" and not _is(part, int if flag["type"] == "int" else float):
            return f"must be {'a whole number' if flag['type'] == 'int' else 'a number'}"
    return None


def _is(value: object, kind: type) -> bool:
    try:
        kind(str(value))
    except ValueError:
        return False
    return True
