"""A world of made-up people: who they are, and how plain English says it.

Every person has a name of two words and one value for each attribute. A biography states all attributes, each in one of
five or more wordings, in any order. The idea is that of "Physics of Language Models: Part 3.1" (Allen-Zhu and Li,
arXiv 2309.14316): whether a model knows a fact or only the sentence it read can be told exactly. Only numpy is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FIRST = (
    "Abel Ada Agnes Albert Alice Alma Andrea Angela Anton Arno Astrid Barbara Basil Beate Bella Benno Boris Bruno "
    "Carla Carmen Cecil Celia Chris Clara Conrad Cora Daniel Dario Delia Diana Dora Edgar Edith Edwin Elena Elsa Emil "
    "Emma Erik Ernst Esther Eva Fanny Felix Flora Frida Georg Gerda Gisela Greta Gustav Hanna Hans Hector Helen "
    "Henrik Hugo Ida Ina Ingrid Iris Irma Ivan Jakob Jana Joel Jonas Judith Julia Karin Karl Klaus Laura Lena Leon "
    "Linda Lisa Lotte Ludwig Lukas Manuel Maria Marta Milo Nadia Nils Olga Oscar Paula Petra Rita Simon Sonja Thea "
    "Viktor Wanda"
).split()
LAST = (
    "Abend Adler Amsel Arndt Bach Bauer Baum Becker Berg Blum Bode Brandt Braun Busch Cordes Cramer Dahl Daum Decker "
    "Dietz Dorn Ebert Ebner Eggers Engel Esser Falk Fichte Fink Forst Frank Funk Geller Gerber Graf Gruber Haas Hagen "
    "Hahn Hauser Heller Hess Horn Huber Jahn Jansen Jung Kaiser Keller Kern Klein Koch Kraus Krug Kunz Lang Lenz "
    "Lindner Loos Lorenz Mahler Marten Maurer Meister Moser Nagel Noll Olsen Opitz Peters Petri Pohl Quast Rapp Reich "
    "Reuter Ritter Roth Sander Sauer Schmid Seidel Stein Stern Strauss Thiel Thoma Ulmer Unger Vogel Volk Wagner "
    "Weber Winkler Zander Zeller"
).split()


@dataclass(frozen=True)
class Attribute:
    """One attribute of a person.

    Attributes:
        name: as questions are tagged.
        values: single words.
        wordings: sentences with {name} and {value}. The first one has the name in front and the value at its end, so
            that it can be asked as a question.
    """

    name: str
    values: tuple[str, ...]
    wordings: tuple[str, ...]


ATTRIBUTES = (
    Attribute(
        "birthplace",
        tuple(
            "Athens Berlin Boston Cairo Dublin Geneva Hanoi Lima Lisbon London Madrid Milan Oslo Paris Prague Riga "
            "Rome Sofia Tokyo Vienna".split()
        ),
        (
            "{name} was born in {value}.",
            "{name} is a native of {value}.",
            "{name} comes from {value}.",
            "The birthplace of {name} is {value}.",
            "{value} is where {name} was born.",
            "The home town of {name} is {value}.",
        ),
    ),
    Attribute(
        "profession",
        tuple(
            "baker barber butcher carpenter clerk dentist doctor farmer gardener jeweler lawyer librarian mason "
            "painter pilot plumber sailor tailor teacher waiter".split()
        ),
        (
            "{name} works as a {value}.",
            "{name} is a {value} by trade.",
            "{name} earns a living as a {value}.",
            "The profession of {name} is {value}.",
            "By profession {name} is a {value}.",
            "{name} became a {value}.",
        ),
    ),
    Attribute(
        "subject",
        tuple(
            "algebra anatomy biology botany chemistry economics ethics geography geology geometry history law "
            "linguistics logic medicine music philosophy physics statistics zoology".split()
        ),
        (
            "{name} holds a degree in {value}.",
            "{name} graduated in {value}.",
            "{name} is a student of {value}.",
            "The subject that {name} chose is {value}.",
            "At university {name} took {value}.",
            "{name} passed all exams in {value}.",
        ),
    ),
    Attribute(
        "hobby",
        tuple(
            "archery boxing chess climbing cycling dancing fencing fishing golf hiking judo knitting photography "
            "pottery riding rowing sailing skating skiing swimming".split()
        ),
        (
            "{name} is fond of {value}.",
            "{name} spends weekends on {value}.",
            "{name} relaxes with {value}.",
            "The hobby of {name} is {value}.",
            "In the evening {name} enjoys {value}.",
            "{name} never tires of {value}.",
        ),
    ),
    Attribute(
        "pet",
        tuple(
            "canary cat cobra donkey duck ferret frog goat goose hamster hen horse lizard monkey parrot pony rabbit "
            "sheep toad turtle".split()
        ),
        (
            "{name} keeps a {value}.",
            "{name} lives with a {value}.",
            "{name} shares a house with a {value}.",
            "The pet of {name} is a {value}.",
            "At home {name} has a {value}.",
            "{name} looks after a {value}.",
        ),
    ),
    Attribute(
        "drink",
        tuple(
            "absinthe beer brandy broth champagne cider cocoa coffee gin juice lemonade mead milk port punch rum "
            "sherry tea water wine".split()
        ),
        (
            "{name} always drinks {value}.",
            "{name} likes a glass of {value}.",
            "{name} asks for {value}.",
            "The favorite drink of {name} is {value}.",
            "With dinner {name} takes {value}.",
            "{name} starts the day with {value}.",
        ),
    ),
)


@dataclass(frozen=True)
class Person:
    """A name, and a value for every attribute of the world, by the attribute's name."""

    name: str
    facts: dict[str, str]


class World:
    """People and their facts; the same arguments give the same world.

    Args:
        people: how many, at most len(FIRST) * len(LAST).
        attributes: how many, the first ones of ATTRIBUTES.
        seed: of names and facts.

    Raises:
        ValueError: more people than names, or more attributes than there are.
    """

    def __init__(self, people: int, attributes: int, seed: int):
        if not 1 <= people <= len(FIRST) * len(LAST):
            raise ValueError(f"people must be between 1 and {len(FIRST) * len(LAST)}, not {people}")
        if not 1 <= attributes <= len(ATTRIBUTES):
            raise ValueError(f"attributes must be between 1 and {len(ATTRIBUTES)}, not {attributes}")
        self.attributes = ATTRIBUTES[:attributes]
        random = np.random.default_rng([seed, 0])
        names = random.permutation(len(FIRST) * len(LAST))[:people]
        self.people = [
            Person(
                f"{FIRST[place // len(LAST)]} {LAST[place % len(LAST)]}",
                {each.name: each.values[random.integers(len(each.values))] for each in self.attributes},
            )
            for place in map(int, names)
        ]

    @cached_property
    def by_name(self) -> dict[str, Person]:
        """Everyone, by name."""
        return {person.name: person for person in self.people}

    def biography(self, person: Person, random: np.random.Generator) -> str:
        """All facts about a person: one sentence each, in random order and wording."""
        sentences = []
        for place in random.permutation(len(self.attributes)):
            attribute = self.attributes[place]
            wording = attribute.wordings[random.integers(len(attribute.wordings))]
            sentences.append(wording.format(name=person.name, value=person.facts[attribute.name]))
        return " ".join(sentences)
