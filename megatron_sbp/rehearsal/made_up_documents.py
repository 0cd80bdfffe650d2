"""Made-up documents for a missing corpus: several about each topic, in words that they share.

They are plain English sentences about crafts in places that do not exist. Two documents on one topic are similar, as
sentence embeddings see them, but have few long phrases in common; some are near-duplicates of another one. The same
arguments give the same documents.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

TOPICS = 12
"""Few enough that every split has several documents on most of them."""

SIMILARITY = 0.6
"""Most documents on one topic are more similar than this, by MiniLM; a test measures it."""


@dataclass(frozen=True)
class MadeUp:
    """A document with its topic."""

    number: int
    topic: str
    text: str


_CRAFTS = {
    "beekeeping": "hive queen swarm comb smoker nectar frame honey colony brood",
    "bread baking": "dough oven starter flour crust loaf yeast crumb kneading proof",
    "violin making": "spruce bridge varnish scroll bow maple string soundpost peg fingerboard",
    "canal navigation": "lock barge towpath sluice keeper basin chamber gate rope water",
    "glacier surveying": "moraine crevasse stake ice meltwater survey snow probe ridge camp",
    "letterpress printing": "type press ink galley forme composing proof paper roller case",
    "apple growing": "orchard graft blossom pruning rootstock cider ladder frost fruit branch",
    "lighthouse keeping": "lamp lens fog tower beam keeper wick gallery reef signal",
    "silk weaving": "loom shuttle warp cocoon thread bobbin pattern dye cloth reed",
    "clock repair": "escapement spring pendulum gear dial winding pivot bezel case oil",
    "salt making": "brine pan evaporation crystal rake kiln marsh crust sluice shed",
    "pottery": "clay wheel glaze kiln slip bowl firing ash shelf handle",
}
_PLACES = "Varlund Osmere Tellick Brannoch Quenby Harrowfen Istad Melgrave Dunsley Pellworth Corrin Asketh".split()
_PEOPLE = "Ada Borin Celia Dorn Elspeth Falk Greta Hollis Ines Jorun Kit Lena".split()

_SENTENCES = (
    "In {place}, {craft} begins with the {a}, and nobody touches the {b} before {person} has looked at it",
    "{person} learned {craft} in {place} and still keeps the first {a} beside the {b}",
    "A good {a} is half of {craft}: the other half is patience with the {b}",
    "When the {a} is cold, the {b} has to wait, as {person} of {place} likes to say",
    "People who come to {place} for {craft} ask about the {a} first and about the {b} last",
    "The {b} of {place} is older than its {a}, though few in {craft} believe it",
    "Every spring {person} writes down how much the {a} has cost and what the {b} brought in",
    "Without a dry {b}, the {a} spoils within {number} days, which is the hardest part of {craft}",
    "There are {number} ways to judge the {a}, and {person} trusts only the weight of the {b}",
    "For {craft} in {place} one needs a {a}, a {b}, and a neighbor who can be called at night",
    "{person} measured the {b} {number} times before the {a} was moved to the other side of {place}",
    "What is written about {craft} elsewhere does not hold in {place}, where the {a} meets the {b}",
)


def made_up_documents(count: int, seed: int) -> list[MadeUp]:
    """Documents in an order in which topics are mixed.

    Args:
        count: how many; every ninth is a near-duplicate of an earlier one.
        seed: of all choices.
    """
    choose = random.Random(f"made-up documents {seed}")
    documents: list[MadeUp] = []
    for number in range(count):
        if number >= TOPICS and number % 9 == 8:
            documents.append(_near_duplicate(choose, number, choose.choice(documents)))
        else:
            documents.append(_document(choose, number, number % TOPICS))
    return documents


def _document(choose: random.Random, number: int, topic: int) -> MadeUp:
    craft, place, person = list(_CRAFTS)[topic], _PLACES[topic], _PEOPLE[topic]
    words = _CRAFTS[craft].split()
    # Most have 60 to 130 words; one in eight is longer than a sequence.
    length = choose.choice((3, 4, 4, 5, 5, 6, 7, 12))
    sentences = []
    for sentence in choose.sample(_SENTENCES, length):
        a, b = choose.sample(words, 2)
        values = {"craft": craft, "place": place, "person": person, "a": a, "b": b}
        sentences.append(sentence.format(**values, number=choose.randint(2, 40)))
    return MadeUp(number, f"{craft} in {place}", ". ".join(sentences) + ".")


def _near_duplicate(choose: random.Random, number: int, of: MadeUp) -> MadeUp:
    return MadeUp(number, of.topic, f"{of.text} Written down for the {number}th time, unchanged.")
