"""The synthesizer's initial weights: an arm's last or best checkpoint, an imported one, or none.

`megatron_sbp.recipe.tuning_start` reads `tuning.start`; this module checks and prepares what it names.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.base.progress import say
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint import tracker
from megatron_sbp.checkpoint.hugging_face_config import check_model, read_config
from megatron_sbp.checkpoint.hugging_face_folder import tokenizer_files, weight_files
from megatron_sbp.checkpoint.model_folder import CONSUMED, STARTED_FROM
from megatron_sbp.planning import cost
from megatron_sbp.recipe import Recipe
from megatron_sbp.recipe.tuning_start import KEY, WORDS, start_folder, start_word

if TYPE_CHECKING:
    from megatron_sbp.tokenization.tokenizer import TextTokenizer


def needs_preparation(recipe: Recipe) -> bool:
    """Whether the initial weights have to be made (`prepare_start`) before Megatron can load them."""
    return start_word(recipe) in ("best", None)


def start_model(recipe: Recipe, *, arm: Path, prepared: Path) -> Path | None:
    """Folder from which Megatron loads the synthesizer's initial weights; None for new ones.

    Args:
        recipe: the recipe.
        arm: training folder of the arm that it starts from.
        prepared: the folder that `prepare_start` fills.
    """
    if needs_preparation(recipe):
        return prepared
    return arm if start_word(recipe) == "last" else None


def start_files(recipe: Recipe) -> list[Path]:
    """The files of a Hugging Face start that are read: configuration, weights, tokenizer; empty for other starts.

    Raises:
        InputError: the folder is not a Hugging Face checkpoint.
    """
    folder = start_folder(recipe)
    if folder is None:
        return []
    config = folder / CONFIG
    if not config.exists():
        message = (
            f"not a Hugging Face checkpoint: the file is missing (a start that is not a folder is {', '.join(WORDS)})"
        )
        raise InputError(message, file=config, key=KEY)
    return [config, *weight_files(folder), *tokenizer_files(folder)]


def check_start(recipe: Recipe) -> None:
    """Raises InputError when the start's folder is missing, or its config.json describes another model."""
    folder = start_folder(recipe)
    if folder is not None:
        start_files(recipe)
        check_model(read_config(folder / CONFIG)[0], recipe.model, folder / CONFIG)


def prepare_start(recipe: Recipe, *, arm: Path, tokenizer: Path, tuning: Path, prepared: Path) -> None:
    """Fills `prepared` with a checkpoint that Megatron can load, unless the tuning has a checkpoint of its own.

    A Hugging Face checkpoint is imported; an arm's best checkpoint is hard-linked. TUNING/start.json records
    which one it was. Does nothing when the start is an arm's last checkpoint or new weights.

    Args:
        recipe: the recipe.
        arm: training folder of the arm that it starts from.
        tokenizer: the tokenizer's folder.
        tuning: the synthesizer's training folder.
        prepared: where the checkpoint is written; replaced when it exists.

    Raises:
        InputError: the checkpoint does not agree with the recipe's model or the tokenizer, or cannot be imported; or
            the arm did not keep its best checkpoint.
    """
    if not needs_preparation(recipe) or (tuning / tracker.NAME).exists():
        return
    best = start_word(recipe) == "best"
    record = _link_best(arm, prepared) if best else _import_folder(recipe, tokenizer, prepared)
    files.write_json(tuning / STARTED_FROM, record)


def _link_best(arm: Path, prepared: Path) -> JsonObject:
    file = arm / CONSUMED
    best = files.read_json(file).get("best") or {}
    source = tracker.checkpoint_folder(arm, best.get("iteration", 0))
    if not best.get("kept") or not source.is_dir():
        raise InputError(f"the arm {arm.name} did not keep its best checkpoint; train it again", file=file, key=KEY)
    remove_start(prepared)
    shutil.copytree(source, prepared / source.name, copy_function=_link_or_copy)
    files.write_text(prepared / tracker.NAME, str(best["iteration"]))
    say(f"tune: starting from {arm.name} after {best['iteration']:,} steps, held-out loss {best['valid_loss']:.4f}")
    return {"arm": arm.name, **best}


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def _import_folder(recipe: Recipe, tokenizer_folder: Path, prepared: Path) -> JsonObject:
    from megatron_sbp.checkpoint.hugging_face_import import import_checkpoint
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    folder = start_folder(recipe)
    assert folder is not None
    tokenizer = load_tokenizer(tokenizer_folder)
    check_tokenizer(folder, tokenizer)
    padded = cost.padded_vocab_size(recipe.model, tokenizer.vocab_size, recipe.launch.tensor_parallel)
    say(f"tune: importing {folder}")
    written = import_checkpoint(folder, recipe.model, vocabulary=tokenizer.vocab_size, padded=padded, target=prepared)
    say(f"tune: {written['parameters']:,} parameters of {written['architecture']} imported as the start")
    return {"folder": recipe.tuning.start, **written}


def remove_start(prepared: Path) -> None:
    """Removes what `prepare_start` made; nothing reads it once the tuning has ended."""
    shutil.rmtree(prepared, ignore_errors=True)


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
            f"has no tokenizer, so its ids cannot be compared with those of {ours.source}; copy its tokenizer there",
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
            raise InputError(f"{disagree}: same vocabulary, different {part}", key=KEY)


def _part(tokenizer: TextTokenizer, name: str) -> JsonObject | None:
    return json.loads(tokenizer.backend.to_str())[name]
