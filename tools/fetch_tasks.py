#!/usr/bin/env python
"""Saves lm-eval's tasks with their data as local files, for a cluster without a network.

    python tools/fetch_tasks.py --to tasks                          # the paper's six QA tasks and LAMBADA
    python tools/fetch_tasks.py --to tasks mmlu                     # others, by lm-eval's names

needs lm-eval (pip install lm-eval) and a network. Every task becomes a folder with its YAML, the
functions that it names, and a .jsonl file for every split that it uses; sources.json says where the data is from. Each
data set has its own license. The recipe then says `evaluation: {harness: {task_folder: tasks, tasks: [...]}}`.

    --from FOLDER    takes data from FOLDER/NAME/CONFIGURATION/SPLIT, as `Dataset.save_to_disk` wrote it
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from megatron_sbp.base import command_line, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.files import read_json

PAPER = ("arc_challenge", "arc_easy", "sciq", "winogrande", "triviaqa", "webqs", "lambada_openai")
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")

type Load = Callable[[str, str | None, str], Iterable[dict[str, Any]] | None]
"""Rows of a split, from the path and the name of a data set; None if there is no such split."""


class Function(str):
    """`!function module.name`, which stays what it is."""


class Loader(yaml.SafeLoader):
    pass


class Dumper(yaml.SafeDumper):
    pass


Loader.add_constructor("!function", lambda loader, node: Function(node.value))
Dumper.add_representer(Function, lambda dumper, found: dumper.represent_scalar("!function", str(found)))


def read(file: Path) -> dict[str, Any]:
    """A task's YAML with what it includes."""
    config = yaml.load(file.read_text(encoding="utf-8"), Loader) or {}
    merged: dict[str, Any] = {}
    included = config.pop("include", [])
    for name in [included] if isinstance(included, str) else included:
        merged |= read(file.parent / name)
    return merged | config


class Tasks:
    """The task files of a folder, by what they define."""

    def __init__(self, folder: Path):
        self._files: dict[str, Path] = {}
        self._tagged: dict[str, list[str]] = {}
        for file in sorted(folder.rglob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            for name in re.findall(r"""^["']?(?:task|group)["']?: *["']?([\w.-]+)["']? *$""", text, re.M):
                self._files.setdefault(name, file)
                for tag in re.findall(r"""^["']?tag["']?: *["']?([\w.-]+)["']? *$""", text, re.M):
                    self._tagged.setdefault(tag, []).append(name)

    def closure(self, name: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
        """A task; or a group and all that is in it. Raises InputError for an unknown name."""
        file = self._files.get(name)
        if file is None and name not in self._tagged:
            raise InputError(f"lm-eval defines no task '{name}'")
        config = {"task": self._tagged[name]} if file is None else read(file)
        if file is not None:
            yield name, file, config
        inner = config.get("task")
        for child in inner if isinstance(inner, list) else ():
            if not isinstance(child, str):
                raise InputError("a group with tasks that are not names cannot be saved", file=file)
            yield from self.closure(child)


def functions(value: Any) -> Iterator[Function]:
    """All `!function` of a configuration."""
    if isinstance(value, Function):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from functions(inner)


def localized(name: str, config: dict[str, Any], splits: Iterable[str]) -> dict[str, Any]:
    """A task's configuration with its data in NAME/SPLIT.jsonl; missing splits are left out."""
    there = list(splits)
    kept = {key: value for key, value in config.items() if key not in ("dataset_name", "dataset_kwargs")}
    kept |= {"dataset_path": "json", "dataset_kwargs": {"data_files": {s: f"{name}/{s}.jsonl" for s in there}}}
    return {key: value for key, value in kept.items() if key not in SPLITS or value in there}


def save(name: str, file: Path, config: dict[str, Any], load: Load, folder: Path) -> dict[str, Any] | None:
    """Writes one task; returns where its data is from, None for a group, which has none."""
    target, source, named = folder / name, None, functions(config)
    found: dict[str, Iterable[dict[str, Any]]] = {}
    if isinstance(config.get("task"), str):
        path, part = config["dataset_path"], config.get("dataset_name")
        splits = dict.fromkeys(config[key] for key in SPLITS if config.get(key))
        # Everything is loaded before anything is written: a folder holds a whole task.
        found = {split: rows for split in splits if (rows := load(path, part, split)) is not None}
        if not found:
            raise InputError(f"{name}: no split of {path} is there")
        config = localized(name, config, found)
    target.mkdir(parents=True, exist_ok=True)
    for module in {function.split(".")[0] for function in named}:
        shutil.copy(file.parent / f"{module}.py", target)
    if found:
        counts = {split: _write(target / f"{split}.jsonl", rows) for split, rows in found.items()}
        source = {"dataset_path": path, "dataset_name": part, "rows": counts}
    (target / f"{name}.yaml").write_text(yaml.dump(config, Dumper=Dumper, sort_keys=False, allow_unicode=True))
    return source


def _write(file: Path, rows: Iterable[dict[str, Any]]) -> int:
    written = 0
    with open(file, "w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return written


def from_hub(path: str, part: str | None, split: str) -> Any:
    """Rows of a split on the Hugging Face hub. Raises InputError where they are unavailable, as without a network."""
    import datasets

    try:
        return datasets.load_dataset(path, part, split=split)
    except Exception as error:  # the library raises all kinds, its HTTP client others
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"the data set {path} cannot be loaded from the Hugging Face hub: {reason}") from error


def from_disk(root: Path) -> Load:
    """Rows of splits that `Dataset.save_to_disk` wrote. Raises InputError where a folder is missing or no split."""
    if not root.is_dir():
        raise InputError("no such folder", file=root)

    def load(path: str, part: str | None, split: str) -> Any:
        import datasets

        folder = root / path.rpartition("/")[2] / (part or "none") / split
        if not folder.is_dir():
            return None
        try:
            found = datasets.load_from_disk(str(folder))
        except Exception as error:  # files that are missing, JSON or Arrow that cannot be read: each another kind
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise InputError(f"was not written by Dataset.save_to_disk: {reason}", file=folder) from error
        if not isinstance(found, datasets.Dataset):
            raise InputError(f"holds several splits ({', '.join(found)}), not the one '{split}'", file=folder)
        return found

    return load


def main(words: list[str] | None = None) -> None:
    parser = command_line.parser(__doc__)
    parser.add_argument("tasks", nargs="*", help="names of tasks or groups (default: the paper's)")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder for the task folders")
    parser.add_argument("--from", type=Path, dest="source", metavar="FOLDER", help="data sets on disk")
    given = parser.parse_args(words)
    package = importlib.util.find_spec("lm_eval")
    if package is None or package.origin is None:
        parser.error("needs lm-eval: pip install lm-eval")
    with command_line.errors_reported(given):
        note = given.to / "sources.json"
        outputs.check_file(note)
        known = Tasks(Path(package.origin).parent / "tasks")
        load = from_hub if given.source is None else from_disk(given.source)
        sources = read_json(note) if note.exists() else {}
        if not isinstance(sources, dict):
            raise InputError("is not a JSON object", file=note)
        for name in given.tasks or PAPER:
            for task, file, config in known.closure(name):
                source = save(task, file, config, load, given.to)
                if source is not None:
                    sources[task] = source
                    counts = ", ".join(f"{rows:,} in {split}" for split, rows in source["rows"].items())
                    print(f"{task}: {source['dataset_path']}, documents: {counts}", flush=True)
                note.write_text(json.dumps(sources, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
