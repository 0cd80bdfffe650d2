"""Examples of what a synthesizer wrote: texts that were kept, drawn at random by the seed, and some that were not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_sbp.base.random_streams import Stream
from megatron_sbp.evaluation.sampling import choose
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
    """

    text: str
    id: str | None = None
    seed_id: str | None = None
    seed_text: str | None = None
    verdict: str = KEPT
    told: tuple[str, ...] = ()


def draw_examples(
    synthetic: Sequence[Path],
    documents: Sequence[Path],
    kept: int,
    seed: int,
    filters: Filters,
    wanted: int = EXAMPLES,
) -> list[Example]:
    """Draws examples among the kept synthetic documents; text without a seed document is told as such.

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
    audited: Mapping[str, Sequence[Any]], documents: Sequence[Path], filters: Filters
) -> list[Example]:
    """The texts that an audit keeps of what each rule dropped, with their seed documents where it names them.

    Args:
        audited: by rule, mappings with `text`, `id`, `seed`, and `measured` (values by rule); earlier versions kept
            the text alone.
        documents: shards of D in order.
        filters: of the synthesizer.
    """
    entries = [
        (rule, {"text": entry} if isinstance(entry, str) else entry)
        for rule, texts in audited.items()
        for entry in texts
    ]
    seeds = read_rows(documents, filter(None.__ne__, (_seed_row(entry) for _, entry in entries)))
    return list(_dropped(entries, seeds, filters))


def _dropped(
    entries: Sequence[tuple[str, Mapping[str, Any]]], seeds: Mapping[int, Mapping[str, Any]], filters: Filters
) -> Iterator[Example]:
    for rule, entry in entries:
        given = entry.get("seed")
        seed = given if isinstance(given, Mapping) else seeds.get(_seed_row(entry), {})  # type: ignore[arg-type]
        seed_id = seed.get("id", given if isinstance(given, str) else None)
        told = filters.told(entry.get("measured") or {})
        yield Example(entry["text"], entry.get("id"), seed_id, seed.get("text"), rule, tuple(told))


def _seed_row(entry: Mapping[str, Any]) -> int | None:
    """Row in D of the seed document: as the entry says, or by the id, which names it."""
    if isinstance(entry.get("seed_row"), int):
        return int(entry["seed_row"])
    if "id" not in entry or entry["id"].startswith("sample-"):  # written without a seed document
        return None
    generation = named(entry["id"])
    return None if generation is None else generation.row
