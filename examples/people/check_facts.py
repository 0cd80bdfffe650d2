"""Measures a run on made-up people against the truth: pairs, and what the synthesizer wrote.

    python check_facts.py RUN [--synthesizer random] [--people people.jsonl] [--examples 3]

Every sentence of a biography is parsed back into (person, attribute, value); what no wording of world.py can have
written is malformed. Prints JSON, and with --examples synthetic biographies beside their seeds, each sentence marked
true (+), false (-) or malformed (?).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from world import ATTRIBUTES


def _pattern(wording: str) -> re.Pattern[str]:
    escaped = re.escape(wording)
    for field, words in (("name", r"\w+ \w+"), ("value", r"\w+")):
        escaped = escaped.replace(re.escape(f"{{{field}}}"), f"(?P<{field}>{words})")
    return re.compile(escaped)


_PATTERNS = [
    (attribute.name, place, _pattern(wording))
    for attribute in ATTRIBUTES
    for place, wording in enumerate(attribute.wordings)
]


@dataclass(frozen=True)
class Statement:
    """One sentence of a biography, parsed.

    Attributes:
        person: name of whom it is about.
        attribute: what is said.
        value: of it.
        wording: place of the sentence's form among the attribute's wordings.
    """

    person: str
    attribute: str
    value: str
    wording: int


def sentences(text: str) -> list[str]:
    """Sentences of a text, with their periods; the last one may lack it."""
    return [found.strip() for found in re.findall(r"[^.]+\.?", text) if found.strip()]


def parse(sentence: str) -> Statement | None:
    """What a sentence says; None when no wording can have written it."""
    for attribute, wording, pattern in _PATTERNS:
        found = pattern.fullmatch(sentence)
        if found:
            return Statement(found["name"], attribute, found["value"], wording)
    return None


class Truth:
    """Who is who.

    Args:
        people: rows of people.jsonl: person, and a value for every attribute.
    """

    def __init__(self, people: Iterable[dict[str, str]]):
        self.facts = {row["person"]: {k: v for k, v in row.items() if k != "person"} for row in people}

    def is_true(self, statement: Statement) -> bool:
        """Whether the person exists and has that value."""
        return self.facts.get(statement.person, {}).get(statement.attribute) == statement.value


class Tally:
    """Figures of texts written for seed documents, text by text.

    Args:
        truth: who is who.
        originals: texts of D; a text among them is a copy.
    """

    def __init__(self, truth: Truth, originals: set[str]):
        self.truth, self.originals = truth, originals
        self.counts: Counter[str] = Counter()

    def add(self, text: str, person: str | None, seed: str | None) -> None:
        """Counts a text.

        Args:
            text: what was written.
            person: whom the seed document is about; None for a text that was written without one.
            seed: the seed document; None likewise.
        """
        parsed = [parse(sentence) for sentence in sentences(text)]
        known = [statement for statement in parsed if statement]
        wordings = [(statement.attribute, statement.wording) for statement in known]
        given = [(s.attribute, s.wording) for s in map(parse, sentences(seed or "")) if s]
        about = person or (known[0].person if known else "")
        facts = sorted(self.truth.facts.get(about, ()))
        self.counts.update(
            documents=1,
            with_a_seed=person is not None,
            sentences_with_a_seed=0 if person is None else len(parsed),
            wordings_with_a_seed=0 if person is None else len(wordings),
            about_the_seeds_person=bool(known) and all(statement.person == person for statement in known),
            all_facts_once=bool(facts) and sorted(s.attribute for s in known) == facts,
            copies_of_d=text in self.originals,
            sentences=len(parsed),
            malformed=len(parsed) - len(known),
            true=sum(map(self.truth.is_true, known)),
            true_about_the_seeds_person=sum(s.person == person and self.truth.is_true(s) for s in known),
            wordings_of_the_seed=len(set(wordings) & set(given)),
        )

    def figures(self) -> dict[str, float | int | None]:
        """Shares: of documents, of sentences (true: malformed ones count as not true), and of wordings. None stands for
        what a text without a seed document does not have."""
        counts = self.counts

        def share(name: str, whole: str) -> float | None:
            return counts[name] / counts[whole] if counts[whole] else None

        return {
            "documents": counts["documents"],
            "about_the_seeds_person": share("about_the_seeds_person", "with_a_seed"),
            **{key: share(key, "documents") for key in ("all_facts_once", "copies_of_d")},
            "sentences": counts["sentences"],
            "true": share("true", "sentences"),
            "true_about_the_seeds_person": share("true_about_the_seeds_person", "sentences_with_a_seed"),
            "malformed": share("malformed", "sentences"),
            "wordings_of_the_seed": share("wordings_of_the_seed", "wordings_with_a_seed"),
        }


def judge(batch: list[dict[str, Any]]) -> list[dict[str, bool | None]]:
    """`evaluation.judge` of this world, exact: see megatron_sbp/evaluation/judge.py.

    A text is factual when every one of its sentences is a true statement. It is relevant when it states something, and
    all of it about the person of the seed document.
    """
    truth = _world()
    return [opinion(truth, case["seed"], case["text"]) for case in batch]


def opinion(truth: Truth, seed: str | None, text: str) -> dict[str, bool | None]:
    """What `judge` says of one text."""
    known = [parse(sentence) for sentence in sentences(text)]
    people = {statement.person for statement in map(parse, sentences(seed or "")) if statement}
    return {
        "factual": bool(known) and all(found is not None and truth.is_true(found) for found in known),
        "relevant": {found.person for found in known if found} == people if people else None,
    }


@lru_cache(maxsize=1)
def _world() -> Truth:
    """The truth beside this file, as make_world.py wrote it."""
    lines = Path(__file__).with_name("people.jsonl").read_text(encoding="utf-8").splitlines()
    return Truth(map(json.loads, lines))


def pair_figures(people: list[str], seeds: list[int], targets: list[int]) -> dict[str, float | int | None]:
    """Precision and recall of ordered pairs of documents against "about the same person"."""
    right = sum(people[one] == people[other] for one, other in zip(seeds, targets, strict=True))
    possible = sum(count * (count - 1) for count in Counter(people).values())
    return {
        "pairs": len(seeds),
        "precision": right / len(seeds) if seeds else None,
        "recall": right / possible if possible else None,
    }


def _rows(shards: Iterable[Path]) -> Iterator[dict[str, Any]]:
    from megatron_sbp.base import files

    for shard in sorted(shards):
        yield from files.read_jsonl_zst(shard)


def measure(
    run: Path, truth: Truth, examples: int = 0, synthesizer: str = "related"
) -> tuple[dict[str, Any], list[str]]:
    """Figures of one synthesizer of a run folder, and examples as text.

    Returns:
        `pairs` by split (precision, recall), `generations` and `synthetic` (before and after the filters) as
        `Tally.figures`; what is not there yet is left out.
    """
    import pyarrow.parquet

    own = run if synthesizer == "related" else run / "synthesizers" / synthesizer
    real = list(_rows((run / "documents" / "train").glob("[0-9]*")))
    result: dict[str, Any] = {"pairs": {}}
    for split, name in (("train", "pairs"), ("valid", "valid_pairs")):
        file = own / "pairs" / f"{name}.parquet"
        if file.exists():
            table = pyarrow.parquet.read_table(file, columns=["seed", "target"])
            people = [row["person"] for row in _rows((run / "documents" / split).glob("[0-9]*"))]
            result["pairs"][split] = pair_figures(people, table["seed"].to_pylist(), table["target"].to_pylist())
    originals = {row["text"] for row in real}
    written = list(_rows((own / "synthetic" / "generations").glob("[0-9]*")))
    for name, rows in (("generations", written), ("synthetic", _rows((own / "synthetic").glob("[0-9]*")))):
        tally = Tally(truth, originals)
        for row in rows:
            seed = {} if row["seed_row"] is None else real[row["seed_row"]]
            tally.add(row["text"], seed.get("person"), seed.get("text"))
        if tally.counts["documents"]:
            result[name] = tally.figures()
    random = np.random.default_rng(1)
    chosen = random.permutation(len(written))[:examples]
    rows = [(written[n]["seed_row"], written[n]["text"]) for n in chosen]
    return result, [_example(None if row is None else real[row]["text"], text, truth) for row, text in rows]


def _example(seed: str | None, text: str, truth: Truth) -> str:
    lines = ["no seed" if seed is None else f"seed: {seed}"]
    for sentence in sentences(text):
        statement = parse(sentence)
        mark = "?" if statement is None else "+" if truth.is_true(statement) else "-"
        lines.append(f"  {mark} {sentence}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--synthesizer", default="related", help="as the recipe names it (default: related)")
    parser.add_argument("--people", type=Path, default=Path(__file__).with_name("people.jsonl"))
    parser.add_argument("--examples", type=int, default=0)
    options = parser.parse_args()
    if not options.people.is_file():
        parser.error(f"{options.people}: no such file; make_world.py writes it")
    if not options.run.is_dir():
        parser.error(f"{options.run}: no such run folder")
    truth = Truth(map(json.loads, options.people.read_text().splitlines()))
    figures, examples = measure(options.run, truth, options.examples, options.synthesizer)
    print(json.dumps(figures, indent=2))
    print("\n".join(f"\n{example}" for example in examples), end="\n" if examples else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
