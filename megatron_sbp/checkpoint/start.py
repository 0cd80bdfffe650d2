"""`tuning.start`: what the synthesizer begins as.

null or `last`   the baseline's last checkpoint, as in the paper
`best`           the baseline's checkpoint with the lowest held-out loss
`scratch`        new weights
anything else    the folder of a Hugging Face checkpoint
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import say
from megatron_sbp.checkpoint.hugging_face_config import check_model, read_config
from megatron_sbp.checkpoint.hugging_face_folder import tokenizer_files, weight_files
from megatron_sbp.planning import cost
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tuning_start import KEY, WORDS, start_folder, start_word
from megatron_sbp.stages.run_folder import Run

if TYPE_CHECKING:
    from megatron_sbp.tokenization.tokenizer import TextTokenizer


def start_model(run: Run) -> Path | None:
    """Folder from which Megatron loads the synthesizer's first weights; None for new ones."""
    return {"last": run.model("baseline"), "scratch": None}.get(start_word(run.recipe) or "", run.model("start"))


def start_files(recipe: Recipe) -> list[Path]:
    """What is read of that folder: configuration, weights, tokenizer.

    Raises:
        InputError: it is no such folder.
    """
    folder = start_folder(recipe)
    if folder is None:
        return []
    config = folder / "config.json"
    if not config.exists():
        message = f"no Hugging Face checkpoint: the file is missing (a start that is no folder is {', '.join(WORDS)})"
        raise InputError(message, file=config, key=KEY)
    return [config, *weight_files(folder), *tokenizer_files(folder)]


def check_start(recipe: Recipe) -> None:
    """Raises InputError when the folder is not there, or its config.json describes another model than the recipe's."""
    folder = start_folder(recipe)
    if folder is not None:
        start_files(recipe)
        check_model(read_config(folder / "config.json")[0], recipe.model, folder / "config.json")


def prepare_start(run: Run) -> None:
    """Makes RUN/models/start where `start_model` names it, unless the tuning resumes from a checkpoint of its own.

    A folder is imported, the baseline's best checkpoint is linked. What the start is, is written to
    RUN/models/synthesizer/start.json, which stays.

    Raises:
        InputError: the folder does not agree with the recipe's model or the run's tokenizer, or cannot be imported; the
            baseline has not kept its best checkpoint.
    """
    from megatron_sbp.checkpoint import tracker

    if start_model(run) != run.model("start") or (run.model("synthesizer") / tracker.NAME).exists():
        return
    if start_word(run.recipe) == "best":
        _link_best(run)
    else:
        _import_folder(run)


def _link_best(run: Run) -> None:
    from megatron_sbp.checkpoint import tracker

    file = run.model("baseline") / "consumed.json"
    best = files.read_json(file).get("best") or {}
    source = run.model("baseline") / f"iter_{best.get('iteration', 0):07d}"
    if not best.get("kept") or not source.is_dir():
        raise InputError("the baseline has not kept its best checkpoint; train it again", file=file, key=KEY)
    remove_start(run)
    shutil.copytree(source, run.model("start") / source.name, copy_function=_link_or_copy)
    files.write_text(run.model("start") / tracker.NAME, str(best["iteration"]))
    files.write_json(run.model("synthesizer") / "start.json", {"baseline_iteration": best["iteration"], **best})
    say(f"tune: the start is the baseline after {best['iteration']:,} steps, held-out loss {best['valid_loss']:.4f}")


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def _import_folder(run: Run) -> None:
    from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    folder = start_folder(run.recipe)
    assert folder is not None
    model, tokenizer = run.recipe.model, load_tokenizer(run.tokenizer)
    check_tokenizer(folder, tokenizer)
    padded = cost.padded_vocab_size(model, tokenizer.vocab_size, run.recipe.launch.tensor_parallel)
    say(f"tune: importing {folder}")
    written = import_checkpoint(folder, model, tokenizer.vocab_size, padded, run.model("start"))
    files.write_json(run.model("synthesizer") / "start.json", {"folder": run.recipe.tuning.start, **written})
    say(f"tune: {written['parameters']:,} parameters of {written['architecture']} are the start")


def remove_start(run: Run) -> None:
    """Removes what `prepare_start` made, which nobody reads once the tuning has ended."""
    shutil.rmtree(run.model("start"), ignore_errors=True)


def check_tokenizer(folder: Path, ours: TextTokenizer) -> None:
    """Raises InputError when a checkpoint's tokenizer gives other ids than the run's, with which the tokens were made.

    Args:
        folder: the checkpoint's, with its tokenizer.
        ours: the run's; it may have further tokens for its roles.
    """
    from megatron_sbp.tokenization.hugging_face import adopt_tokenizer
    from megatron_sbp.tokenization.tokenizer import ROLES

    if not tokenizer_files(folder):
        raise InputError(
            f"has no tokenizer, so nobody can tell whether the ids of {ours.source} are its own; copy it there",
            file=folder,
            key=KEY,
        )
    theirs = adopt_tokenizer(folder.resolve(), dict.fromkeys(ROLES, ""), add_missing=False, key=KEY)
    known, own = theirs.backend.get_vocab(with_added_tokens=True), ours.backend.get_vocab(with_added_tokens=True)
    disagree = f"the tokenizers disagree, {folder} and {ours.source}"
    for token, number in sorted(known.items(), key=lambda item: item[1]):
        if own.get(token) != number:
            raise InputError(f"{disagree}: {token!r} is {number} and {own.get(token, 'missing')}", key=KEY)
    further = sorted(own.keys() - known.keys() - set(ours.roles.values()), key=own.__getitem__)
    if further:
        raise InputError(f"{disagree}: {further[0]!r} is missing and {own[further[0]]}", key=KEY)
    # The same entries can still cut text differently.
    for part in ("normalizer", "pre_tokenizer", "model"):
        if _part(theirs, part) != _part(ours, part):
            raise InputError(f"{disagree}: the same vocabulary, another {part}", key=KEY)


def _part(tokenizer: TextTokenizer, name: str) -> dict | None:
    return json.loads(tokenizer.backend.to_str())[name]
