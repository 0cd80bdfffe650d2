"""Writes a folder with the repositories of a run, in the layout of the Hugging Face hub. Nothing is uploaded.

FOLDER/datasets/NAME-synthetic/README.md, data/CONFIGURATION/train-00000-of-00003.parquet
FOLDER/models/NAME-ARM/README.md, config.json, *.safetensors, the tokenizer, provenance.json
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.checkpoint.hugging_face_folder import PROVENANCE
from megatron_sbp.publishing.dataset_card import dataset_card
from megatron_sbp.publishing.model_card import model_card
from megatron_sbp.publishing.parquet import write_parquet
from megatron_sbp.recipe import Recipe

KEY = "--to"
_MARKER = ".sbp-publish"
"""Marks the folder with what is incomplete: it is the program's, which tidies it."""


@dataclass(frozen=True)
class Corpus:
    """Synthetic documents of one synthesizer and replicate that passed the filters."""

    shards: Sequence[Path]
    audit: Path
    quality: Path | None
    """None before the evaluation."""


@dataclass(frozen=True)
class Exported:
    """A Hugging Face checkpoint."""

    name: str
    """An arm, or `synthesizer-NAME`."""
    held: Sequence[Path]
    """Its files, provenance.json among them."""
    replicate: int


@dataclass(frozen=True)
class PublishSources:
    """What there is to publish."""

    corpora: Mapping[str, Corpus]
    """By configuration."""
    models: Mapping[str, Exported]
    """By the end of the repository's name."""
    results: Path | None
    """None before the report."""


def publish(sources: PublishSources, recipe: Recipe, target: Path) -> list[Path]:
    """Writes the dataset and every model, each with its card; complete or not at all.

    Everything is written beside the target first, so a killed call leaves no target, and the next one starts over.
    A call that fails leaves nothing.

    Args:
        sources: what is finished.
        recipe: of the run.
        target: a folder that is missing or empty.

    Returns:
        The repositories' folders.

    Raises:
        InputError: the target holds something, or there is nothing to publish.
    """
    if not sources.corpora and not sources.models:
        raise InputError("nothing to publish yet: no synthetic corpus has been filtered and no model exported")
    _check_free(target)
    unfinished = target.with_name(f".{target.name}.partial")
    partial = _begin(unfinished)
    try:
        made = _write(sources, recipe, partial)
        try:
            partial.rename(target)  # takes the place of an empty folder
        except OSError as error:
            raise InputError(f"cannot be made: {error.strerror}", file=target, key=KEY) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        _end(unfinished)
    files.sync_folder(target.parent)
    return [target / folder.relative_to(partial) for folder in made]


def _write(sources: PublishSources, recipe: Recipe, partial: Path) -> list[Path]:
    """Fills the folder, durably."""
    results = None if sources.results is None else files.read_json(sources.results)
    made: list[Path] = []
    if sources.corpora:
        made.append(_dataset(sources.corpora, recipe, partial / "datasets" / f"{recipe.name}-synthetic"))
    for name, exported in sources.models.items():
        made.append(_model(exported, recipe, results, partial / "models" / f"{recipe.name}-{name}"))
    for folder in {path.parent for path in partial.rglob("*") if path.is_file()}:
        files.sync_folder(folder)
    return made


def _check_free(target: Path) -> None:
    if not files.is_utf8(target):
        raise InputError("has bytes in its path that are not UTF-8", file=target, key=KEY)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError("is not a folder", file=target, key=KEY)
    held = sorted(path.name for path in target.iterdir()) if target.exists() else []
    if held:
        more = " and more" if len(held) > 3 else ""
        raise InputError(f"is not empty: it holds {', '.join(held[:3])}{more}", file=target, key=KEY)


def _begin(unfinished: Path) -> Path:
    """Makes the folder that this process writes in: another `sbp publish` to the same target has its own. Removes what
    interrupted calls left, and nothing else."""
    if unfinished.exists() and not (unfinished / _MARKER).is_file():
        raise InputError("is in the way, and not from an interrupted `sbp publish`", file=unfinished, key=KEY)
    partial = files.process_folder(unfinished)
    partial.mkdir(parents=True)  # before the marker: what is not empty, no other process removes
    (unfinished / _MARKER).touch()
    for former in ("datasets", "models"):  # as version 0.1 left them
        shutil.rmtree(unfinished / former, ignore_errors=True)
    return partial


def _end(unfinished: Path) -> None:
    """Removes the folder unless another process has its own in it."""
    if sorted(path.name for path in unfinished.glob("*")) in ([], [_MARKER]):
        with contextlib.suppress(OSError):
            (unfinished / _MARKER).unlink(missing_ok=True)
            unfinished.rmdir()


def _dataset(corpora: Mapping[str, Corpus], recipe: Recipe, folder: Path) -> Path:
    audits = {name: files.read_json(corpus.audit) for name, corpus in corpora.items()}
    documents: dict[str, int] = {}
    total = sum(audit["kept"] for audit in audits.values())
    with Progress("publish: synthetic documents", total, "documents") as progress:
        for name, corpus in corpora.items():
            written, documents[name] = write_parquet(corpus.shards, folder / "data" / name, progress.advance)
            for file in written:
                _flush(file)
    quality = {
        name: None if corpus.quality is None else files.read_json(corpus.quality) for name, corpus in corpora.items()
    }
    files.write_text(folder / "README.md", dataset_card(recipe, documents, audits, quality))
    return folder


def _model(exported: Exported, recipe: Recipe, results: JsonObject | None, folder: Path) -> Path:
    folder.mkdir(parents=True)
    size = sum(path.stat().st_size for path in exported.held)
    with Progress(f"publish: {exported.name}", size, "bytes") as progress:
        for file in exported.held:
            shutil.copyfile(file, folder / file.name)
            _flush(folder / file.name)
            progress.advance(file.stat().st_size)
    provenance = files.read_json(folder / PROVENANCE)
    card = model_card(recipe, exported.name, provenance, results, exported.replicate)
    files.write_text(folder / "README.md", card)
    return folder


def _flush(file: Path) -> None:
    with open(file, "rb") as written:
        os.fsync(written.fileno())
