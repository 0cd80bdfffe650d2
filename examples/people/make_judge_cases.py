"""Writes the package's judge_cases.jsonl: pairs of biographies whose truth is known, to try a judge on.

    python make_judge_cases.py [FILE]

Of the people that make_world.py makes by default: 20 texts about the seed's person with the seed's facts, 20 with one
of them changed, and 20 about another person. Whether another person's facts are true cannot be told from the seed, so
there `factual` is null. The truth is what check_facts.py says. The same bytes every time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from check_facts import Truth, opinion
from world import Person, World

OF_A_KIND = 20


def cases() -> Iterator[dict[str, Any]]:
    """The cases, kinds by turns."""
    world = World(200, 3, 1)
    truth = Truth({"person": person.name, **person.facts} for person in world.people)
    random = np.random.default_rng([1, 2])
    chosen = random.permutation(len(world.people))
    for place, number in enumerate(chosen[: 3 * OF_A_KIND].tolist()):
        person, kind = world.people[number], ("same", "changed", "other")[place % 3]
        about = {
            "same": person,
            "changed": _changed(world, person, random),
            "other": world.people[chosen[-1 - place]],
        }[kind]
        seed, text = world.biography(person, random), world.biography(about, random)
        said = opinion(truth, seed, text)
        if kind == "other":
            said["factual"] = None
        yield {"id": f"{kind}-{place // 3}", "seed": seed, "text": text, **said}


def _changed(world: World, person: Person, random: np.random.Generator) -> Person:
    """The same person with another value of one attribute."""
    attribute = world.attributes[random.integers(len(world.attributes))]
    others = [value for value in attribute.values if value != person.facts[attribute.name]]
    return Person(person.name, {**person.facts, attribute.name: others[random.integers(len(others))]})


def main() -> int:
    shipped = Path(__file__).parents[2] / "megatron_sbp" / "evaluation" / "prompts" / "judge_cases.jsonl"
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else shipped
    file.write_text("".join(json.dumps(case) + "\n" for case in cases()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
