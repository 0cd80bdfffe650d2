"""Writes a world of made-up people: corpus.jsonl for the pipeline, questions.jsonl and people.jsonl beside it.

    python make_world.py FOLDER [--people 200] [--documents 48000] [--attributes 3] [--seed 1]

corpus.jsonl: biographies, each of a person drawn at random, with fields id, person, text. The pipeline splits them by
hash: some people end up with several documents in D, some with none. questions.jsonl: one cloze question for every
person and attribute, for `evaluation.questions`. people.jsonl: the truth, by person. The same arguments give the same
bytes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from world import World


def documents(world: World, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Biographies of people drawn at random, no text twice.

    Raises:
        ValueError: the world has not enough different texts to find so many by drawing.
    """
    forms = math.factorial(len(world.attributes)) * math.prod(len(each.wordings) for each in world.attributes)
    if count > len(world.people) * forms // 2:
        raise ValueError(f"{count:,} documents are more than half of the {len(world.people) * forms:,} possible ones")
    random = np.random.default_rng([seed, 1])
    seen: set[str] = set()
    while len(seen) < count:
        person = world.people[random.integers(len(world.people))]
        text = world.biography(person, random)
        if text not in seen:
            yield {"id": f"bio-{len(seen)}", "person": person.name, "text": text}
            seen.add(text)


def questions(world: World) -> Iterator[dict[str, Any]]:
    """The first wording of every attribute without its value, for every person; the choices are all values."""
    for person in world.people:
        for attribute in world.attributes:
            prompt, _, rest = attribute.wordings[0].partition(" {value}")
            assert rest == ".", attribute.name
            yield {
                "prompt": prompt.format(name=person.name),
                "choices": list(attribute.values),
                "answer": person.facts[attribute.name],
                "tag": attribute.name,
                "group": person.name,
            }


def write(file: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Writes JSON lines; returns how many."""
    count = 0
    with open(file, "w", encoding="utf-8") as output:
        for row in rows:
            output.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def make(folder: Path, people: int, count: int, attributes: int, seed: int) -> dict[str, int]:
    """Writes the three files; returns the lines of each.

    Raises:
        ValueError: a world of such a size cannot be.
    """
    world = World(people, attributes, seed)
    folder.mkdir(parents=True, exist_ok=True)
    truth = ({"person": person.name, **person.facts} for person in world.people)
    return {
        "documents": write(folder / "corpus.jsonl", documents(world, count, seed)),
        "questions": write(folder / "questions.jsonl", questions(world)),
        "people": write(folder / "people.jsonl", truth),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--documents", type=int, default=48_000, help="biographies in the corpus, for all splits")
    parser.add_argument("--attributes", type=int, default=3, help="facts about every person")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        counts = make(options.folder, options.people, options.documents, options.attributes, options.seed)
    except ValueError as error:
        parser.error(str(error))
    print(", ".join(f"{count:,} {what}" for what, count in counts.items()) + f" in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
