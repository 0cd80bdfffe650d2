"""Where a synthetic document comes from: its seed document, the pairs of that seed, the sampler, and the filters."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.shard_names import JSONL_ZST, numbered_shards, shard_file_name
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.overlap.near_duplicates import signatures
from megatron_sbp.pairing.document_rows import read_rows
from megatron_sbp.recipe import Filter
from megatron_sbp.synthesis.further_rules import Candidate, FurtherSources, further_rules
from megatron_sbp.synthesis.generations import named, place_of
from megatron_sbp.synthesis.judged import PASSED
from megatron_sbp.synthesis.judging import digest_of
from megatron_sbp.synthesis.keeping import final_verdicts
from megatron_sbp.synthesis.rule_names import VERDICTS
from megatron_sbp.synthesis.synthesizer import without_end
from megatron_sbp.synthesis.text_rules import opinions
from megatron_sbp.tokenization.indexed import open_indexed
from megatron_sbp.tokenization.tokenizer import load_tokenizer
from megatron_sbp.tokenization.written_ids import FIELD

_PAIRS_SHOWN = 8
_IDS_COMPARED = 20_000
"""Ids among which near ones are looked for."""

PENDING = "not filtered yet"
"""Verdict on a generation while the filter is not complete."""


@dataclass(frozen=True)
class TraceSources:
    """Files and settings of one synthesizer. What is missing is left out of the answer."""

    generations: Path
    """Folder with NNNNN.jsonl.zst, everything that was written."""
    verdicts: Path
    """Folder with NNNNN.npy, see `Judged`."""
    digests: Path
    """The same."""
    signatures: Path
    """The same."""
    repeats: Path
    """Folder of what `join_repeats` wrote."""
    filtered: bool
    """Whether the filter is complete."""
    documents: Sequence[Path]
    """Shards of D in order."""
    tokens: Path
    """Prefix of D's IndexedDataset."""
    tokenizer: Path
    pairs: Path | None
    """Parquet of the pairs tuned on; None for text that no tuned synthesizer wrote."""
    rules: Filter
    shingle_tokens: int
    seed: int
    """The run's seed."""
    generations_per_shard: int
    further: FurtherSources = field(default_factory=FurtherSources)
    """What the further rules read; those without it are left out."""

    def shards(self) -> list[Path]:
        """The files of the raw generations, in order."""
        return numbered_shards(self.generations, JSONL_ZST)


def trace(name: str, sources: TraceSources) -> JsonObject | None:
    """What is known about a synthetic document.

    Args:
        name: its id.
        sources: where to look.

    Returns:
        JSON-able: `id`, `text`, `tokens` (written), `finished`; `sampling` (synthesizer digest, round, digest of the
        pairs, engine, temperature, top_p, run_seed, ...: what the row says); `shard`; `seed` (the document as it is in
        D, with its `row`; None for text without one); `pairs` (`tuned_on`: up to 8 targets with score and text,
        `as_seed` and `as_target`: how many there are); `filters` (`verdict`: kept, the rule that dropped it, or
        PENDING; `rules`: what every rule measured; `repeats`: the id of the document that a duplicate
        repeats). None for an unknown id.
    """
    found = _find(name, sources)
    if found is None:
        return None
    shard, place, row = found
    seed_row = row["seed_row"]
    seed = None if seed_row is None else read_rows(sources.documents, [seed_row])[seed_row]
    told = {"id", "text", "tokens", FIELD, "finished", "seed_id", "seed_row", "ids_digest"}
    return {
        "id": row["id"],
        "text": row["text"],
        "tokens": row["tokens"],
        "finished": row["finished"],
        "shard": shard.name,
        "sampling": {"round": 1, **{key: value for key, value in row.items() if key not in told}},
        "seed": None if seed is None else {"row": seed_row, **seed},
        "pairs": None if seed_row is None or sources.pairs is None else _pairs(seed_row, sources),
        "filters": _filters(row, int(shard.name[:5]), place, sources),
    }


def unknown(name: str, sources: Sequence[TraceSources]) -> InputError:
    """The error for an id that none of the synthesizers has, with similar ids."""
    generation, why = named(name), ""
    if generation is not None and sources:
        documents = len(open_indexed(sources[0].tokens))
        place = place_of(generation, documents, sources[0].seed)
        if place is None:
            why = f"; its seed document would be row {generation.row:,}, and D has {documents:,} documents"
        else:
            shard = place // sources[0].generations_per_shard
            if not (sources[0].generations / shard_file_name(shard, JSONL_ZST)).exists():
                why = f"; it would be in shard {shard:05d}, which has not been written"
    near = _near(name, sources)
    hint = f"; near it: {', '.join(near)}" if near else "; nothing has been written yet"
    return InputError(f"there is no synthetic document with this id{why}{hint}", key=name)


def _near(name: str, sources: Sequence[TraceSources]) -> list[str]:
    lines = (line for one in sources for shard in one.shards() for line in _lines(shard))
    ids = list(dict.fromkeys(json.loads(line)["id"] for line in itertools.islice(lines, _IDS_COMPARED)))
    generation = named(name)
    same = [other for other in ids if generation and (named(other) or generation).row == generation.row]
    return (same or difflib.get_close_matches(name, ids, 5, 0.0))[:5]


def _lines(shard: Path) -> Iterator[bytes]:
    with files.open_lines(shard) as lines:
        yield from lines


def _find(name: str, sources: TraceSources) -> tuple[Path, int, JsonObject] | None:
    """The shard, the place in it, and the row of a raw generation. Its place in the plan says where to look first."""
    shards = sources.shards()
    generation = named(name)
    if generation is not None and shards:
        place = place_of(generation, len(open_indexed(sources.tokens)), sources.seed)
        if place is not None:
            likely = sources.generations / shard_file_name(place // sources.generations_per_shard, JSONL_ZST)
            shards.sort(key=lambda shard: shard != likely)
    for shard in shards:
        # Every row begins with its id, so the others need not be parsed.
        start = b'{"id":' + json.dumps(name, ensure_ascii=False).encode(errors="surrogatepass")
        for place, line in enumerate(_lines(shard)):
            if line.startswith(start):
                return shard, place, json.loads(line)
    return None


def _pairs(seed_row: int, sources: TraceSources) -> JsonObject | None:
    import pyarrow.parquet

    if sources.pairs is None or not sources.pairs.exists():
        return None
    read = pyarrow.parquet.read_table
    columns = ["target", "target_id", "score"]
    rows = read(sources.pairs, columns=columns, filters=[("seed", "=", seed_row)]).to_pylist()
    shown = sorted(rows, key=lambda pair: -pair["score"])[:_PAIRS_SHOWN]
    texts = read_rows(sources.documents, [pair["target"] for pair in shown])
    return {
        "as_seed": len(rows),
        "as_target": read(sources.pairs, columns=["seed"], filters=[("target", "=", seed_row)]).num_rows,
        "tuned_on": [{**pair, "text": texts[pair["target"]]["text"]} for pair in shown],
    }


def _filters(row: JsonObject, shard: int, place: int, sources: TraceSources) -> JsonObject:
    """The verdict that the stages recorded, and what every rule measures: only the verdict is on disk."""
    tokenizer = load_tokenizer(sources.tokenizer)
    tokens = np.array(tokenizer.encode_batch([row["text"]])[0], np.int64)
    seed_tokens = np.empty(0, np.int64)
    if row["seed_row"] is not None:
        seed_tokens = without_end(open_indexed(sources.tokens)[row["seed_row"]], tokenizer)
    said = [asdict(one) for one in opinions(row, sources.rules, tokens, seed_tokens, sources.shingle_tokens)]
    candidate = Candidate(row, tokens, seed_tokens, f"{shard:05d}", place)
    for rule in further_rules(sources.rules, sources.further, tokenizer).values():
        said += [asdict(one) for one in rule.opinions([candidate])]
    duplicate: JsonObject = {"rule": "duplicate", "value": None, "limit": sources.rules.duplicates, "drops": None}
    repeats = None
    file = f"{shard:05d}.npy"
    # The filters may be complete for the generations before, and more of them planned since.
    if not sources.filtered or not (sources.verdicts / file).exists() or not (sources.repeats / file).exists():
        verdict = next((one["rule"] for one in said if one["drops"]), PENDING)
    else:
        found = int(final_verdicts(sources.verdicts / file, sources.repeats / file)[0, place])
        verdict = "kept" if found == PASSED else VERDICTS[found]
        if verdict in ("kept", "duplicate"):
            duplicate["drops"] = verdict == "duplicate"
        if duplicate["drops"]:
            repeats, duplicate["value"] = _repeated(row["text"], shard, sources)
    return {"verdict": verdict, "rules": [*said, duplicate], "repeats": repeats}


def _repeated(text: str, shard: int, sources: TraceSources) -> tuple[str | None, float | None]:
    """The kept document, of shard `shard` or one before, that a text repeats, and how similar the two are."""
    exact = sources.rules.duplicates == "exact"
    known = sources.digests if exact else sources.signatures
    own = np.array([[digest_of(text)]], np.uint64) if exact else signatures([text])
    for file in numbered_shards(known, ".npy"):
        if int(file.stem) > shard or not (sources.repeats / file.name).exists():
            continue
        # Of all that passed the other rules. To hash the texts again would take hours where there are millions.
        found = np.load(file, mmap_mode="r")
        alike = (found.reshape(len(found), own.shape[1]) == own).mean(axis=1)
        alike[np.load(sources.repeats / file.name)] = -1.0
        near = np.flatnonzero(alike >= (1.0 if exact else sources.rules.duplicate_threshold))
        if len(near):
            place = np.flatnonzero(np.load(sources.verdicts / file.name)[0] == PASSED)[near[0]]
            line = next(itertools.islice(_lines(sources.generations / f"{file.stem}{JSONL_ZST}"), int(place), None))
            return json.loads(line)["id"], float(alike[near[0]])
    return None, None
