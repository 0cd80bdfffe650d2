"""Examples of what a synthesizer wrote: texts that were kept, drawn at random by the seed, and some that were not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.base.untyped import JsonValue
from megatron_sbp.evaluation.row_choice import choose
from megatron_sbp.pairing.document_rows import read_rows, rows_of
from megatron_sbp.report.filter_opinions import Filters
from megatron_sbp.synthesis.generations import named

EXAMPLES = 60

KEPT = "kept"


@dataclass(frozen=True)
class Example:
    """A text that a synthesizer wrote, its seed document, and what the filters said.

    Attributes:
        text: of the synthetic document.
        id: its id; None where the audit of an earlier version does not say.
        seed_id: of the seed document; None where it is not known, or there is none.
        seed_text: its text; None where that is not known.
        verdict: KEPT, or the rule that dropped it.
        told: what the filters measured, in words.
        characters: of the whole text, where only its beginning is here.
    """

    text: str
    id: str | None = None
    seed_id: str | None = None
    seed_text: str | None = None
    verdict: str = KEPT
    told: tuple[str, ...] = ()
    characters: int = 0


def draw_examples(
    synthetic: Sequence[Path],
    documents: Sequence[Path],
    *,
    kept: int,
    seed: int,
    filters: Filters,
    wanted: int = EXAMPLES,
) -> list[Example]:
    """Draws examples among the kept synthetic documents; text without a seed document is marked as such.

    Args:
        synthetic: their shards in order.
        documents: shards of D in order.
        kept: how many synthetic documents there are.
        seed: the run's seed.
        filters: of the synthesizer.
        wanted: how many examples to draw.
    """
    drawn = [row for _, row in rows_of(synthetic, choose(kept, wanted, seed, Stream.EXAMPLES))]
    seeds = read_rows(documents, (row["seed_row"] for row in drawn if row["seed_row"] is not None))
    found = []
    for row in drawn:
        text = seeds.get(row["seed_row"], {}).get("text")
        told = filters.told(filters.of_kept(row, text or ""))
        found.append(Example(row["text"], row["id"], row["seed_id"], text, told=tuple(told)))
    return found


def dropped_examples(
    audited: Mapping[str, Sequence[JsonValue]], documents: Sequence[Path], filters: Filters
) -> list[Example]:
    """The texts that an audit keeps of what each rule dropped, with their seed documents where it names them.

    Args:
        audited: by rule, mappings with `text`, `characters`, `id`, `seed_id`, and `measured` (values by rule); earlier
            versions kept the text alone.
        documents: shards of D in order.
        filters: of the synthesizer.
    """
    entries = [
        (rule, {"text": entry} if isinstance(entry, str) else entry)
        for rule, texts in audited.items()
        for entry in texts
    ]
    rows = (_seed_row(entry) for _, entry in entries)
    seeds = read_rows(documents, (row for row in rows if row is not None))
    return list(_dropped(entries, seeds, filters))


def _dropped(
    entries: Sequence[tuple[str, Mapping[str, JsonValue]]],
    seeds: Mapping[int, Mapping[str, JsonValue]],
    filters: Filters,
) -> Iterator[Example]:
    for rule, entry in entries:
        row, told = _seed_row(entry), filters.told(entry.get("measured") or {})
        seed = {} if row is None else seeds.get(row, {})
        yield Example(
            text=entry["text"],
            id=entry.get("id"),
            seed_id=entry.get("seed_id") or seed.get("id"),
            seed_text=seed.get("text"),
            verdict=rule,
            told=tuple(told),
            characters=entry.get("characters") or 0,
        )


def _seed_row(entry: Mapping[str, JsonValue]) -> int | None:
    """Row in D of the seed document, which the id names; None where there was none, or it is not known."""
    name = str(entry.get("id"))
    generation = None if name.startswith("sample-") else named(name)  # samples are written without a seed document
    return None if generation is None else generation.row
