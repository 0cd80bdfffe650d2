"""Library part of tools/filter_synthetic.py: filters generations without a recipe."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from megatron_sbp.base import files, outputs
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.base.untyped import JsonObject
from megatron_sbp.base.user_function import UserFunction
from megatron_sbp.documents.corpus_files import matching_files
from megatron_sbp.documents.foreign import Source, converted_rows, refuse
from megatron_sbp.documents.reading import BadDocument, field_of, text_of
from megatron_sbp.documents.unique_ids import check_unique_ids
from megatron_sbp.recipe import Filter, Pairs
from megatron_sbp.synthesis.audit import Audit
from megatron_sbp.synthesis.corpus_index import close_index, index_plan, plan_corpus_index, write_index_part
from megatron_sbp.synthesis.dropped_examples import TextMeasures
from megatron_sbp.synthesis.further_rules import FurtherSources
from megatron_sbp.synthesis.judged import PARTS, Judged
from megatron_sbp.synthesis.judging import judge_shard
from megatron_sbp.synthesis.keeping import kept_rows
from megatron_sbp.synthesis.repeats import find_repeats, join_repeats, searches
from megatron_sbp.tokenization.documents import PARENTS, preprocess_documents
from megatron_sbp.tokenization.tokenizer import TextTokenizer
from megatron_sbp.tokenization.written_ids import FIELD

SHARD = 16_384
"""Generations in memory at a time."""

_OPTIONAL = ("finished", "tokens", FIELD, "ids_digest", *PARENTS.names)
"""Columns read from parquet files if present; JSON rows keep all of their fields."""


def filter_generations(
    inputs: list[str],
    output: Path,
    tokenizer: TextTokenizer,
    *,
    seeds: Source | None = None,
    corpus: Path | None = None,
    rules: Filter | None = None,
    shingle_tokens: int = Pairs().shingle_tokens,
) -> JsonObject:
    """Writes the generations that passed every filter, in order, and OUTPUT.audit.json next to them.

    Temporary files, such as the signatures of the generations, are in a hidden folder next to `output`, which is
    removed at the end or, after a kill, by the next call with this output.

    Args:
        inputs: files or patterns relative to the current folder, with a field `text`. Of the other fields, `finished`
            (bool, default true), `seed_id` (string, default none) and `token_ids` (of tools/synthesize.py) are used.
            All fields are kept, except ids that do not match this tokenizer and text.
        output: .jsonl.zst, written atomically; `tokens` of a row is the number of tokens for training, including
            end-of-document.
        tokenizer: the one used for training; shingles consist of its tokens.
        seeds: the documents that `seed_id` names; None does not look for copies of them.
        corpus: prefix of an IndexedDataset of documents ending with end-of-document, as written by
            tools/preprocess_documents.py; needed for `max_corpus_copying`.
        rules: as the recipe's filter section (default: its defaults), but for `contaminated` and `min_similarity`;
            `predicate` is relative to the current folder.
        shingle_tokens: as the recipe's `pairs.shingle_tokens`.

    Returns:
        Contents of the audit: `generations`, `kept`, `tokens`, `dropped` by rule, ... (see `Audit.summary`).

    Raises:
        InputError: unreadable or bad rows, a seed id that no seed document has, a rule that cannot be applied here, an
            output that cannot be written.
    """
    rules = rules or Filter()
    predicate = _checked(rules, corpus)
    generations = _Generations(inputs)
    if not output.name.endswith(JSONL_ZST):
        raise InputError(f"must end in {JSONL_ZST}: nothing else is written", file=output)
    audit_file = output.with_name(output.name.removesuffix(JSONL_ZST) + ".audit.json")
    for file in (output, audit_file):
        outputs.check_file(file, [*generations.files, *(seeds.files() if seeds else [])])
    output.parent.mkdir(parents=True, exist_ok=True)
    with files.own_folder(output.with_name(f".{output.name}-work")) as work:
        rows = _seed_rows(generations, seeds, work, tokenizer) if seeds else {}
        index = None if corpus is None else _index(corpus, shingle_tokens, rules, work)
        judged = []
        for number, some in enumerate(itertools.batched(generations.rows("reading"), SHARD)):
            judged.append(Judged(*(work / part / f"{number:06d}.npy" for part in PARTS)))
            judge_shard(
                [{**row, "seed_row": rows.get(row.get("seed_id"))} for row in some],
                f"{number:06d}",
                judged[-1],
                tokenizer=tokenizer,
                tokens=work / "seeds" if rows else None,
                rules=rules,
                length=shingle_tokens,
                sources=FurtherSources(index, None, predicate),
            )
        measure = TextMeasures(lambda: tokenizer, work / "seeds" if rows else None, rules, shingle_tokens)
        audit = Audit(rules, lambda row: measure({**row, "seed_row": rows.get(row.get("seed_id"))}))
        repeats = _repeats(judged, work, rules)
        every = generations.rows("writing")
        shards = (
            kept_rows(itertools.islice(every, SHARD), target, again, rules, audit)
            for target, again in zip(judged, repeats, strict=True)
        )
        files.write_jsonl_zst(output, itertools.chain.from_iterable(shards))
        summary = audit.summary(None if index is None else index_plan(index))
    files.write_json(audit_file, summary)
    say(f"filter: {audit.line()}")
    return summary


def _repeats(judged: list[Judged], work: Path, rules: Filter) -> list[Path]:
    """Finds duplicates; returns a file for every shard, see `join_repeats`."""
    found = {search: work / "found" / f"{search}.npy" for search in searches(rules)}
    for search, file in found.items():
        find_repeats(search, judged, file, rules)
    repeats = [work / "repeats" / target.verdicts.name for target in judged]
    join_repeats(list(found.values()), judged, repeats)
    return repeats


def _checked(rules: Filter, corpus: Path | None) -> UserFunction | None:
    """Rejects rules that cannot be applied; returns the user's function."""
    for key in ("contaminated", "min_similarity"):
        if getattr(rules, key) is not None:
            raise InputError("needs a run; leave it out here", key=key)
    if (rules.max_corpus_copying is None) != (corpus is None):
        raise InputError("max_corpus_copying and corpus go together: give both, or neither", key="max_corpus_copying")
    if rules.predicate is None:
        return None
    found = UserFunction.of(rules.predicate, Path.cwd(), "predicate")
    if found is None or not found.file.is_file():
        raise InputError(f"must be FILE.py:FUNCTION of a file that exists, not {rules.predicate!r}", key="predicate")
    found.check()
    return found


class _Generations:
    """Rows of the user's files.

    Args:
        inputs: files or patterns.
    """

    def __init__(self, inputs: list[str]):
        self.files = matching_files(inputs, Path.cwd())

    def rows(self, label: str, note: Callable[[JsonObject, Path, int], None] | None = None) -> Iterator[JsonObject]:
        """Every row, with `finished` and `tokens`; `note` also gets its file and line."""
        found = False
        with Progress(label, sum(path.stat().st_size for path in self.files), "bytes") as progress:
            for path in self.files:
                for line, row in converted_rows(
                    path, ["text"], _row, refuse, on_bytes=progress.advance, optional=_OPTIONAL
                ):
                    if note:
                        note(row, path, line)
                    found = True
                    yield row
        if not found:
            raise InputError("no generation", file=self.files[0])


def _row(row: JsonObject) -> JsonObject:
    text = field_of(row, "text")
    # A generation with a NUL character is dropped like any broken one; it does not stop the work.
    text_of({"text": text.replace("\0", "")} if isinstance(text, str) else row, "text")
    row = {**row, "finished": row.get("finished", True), "tokens": row.get("tokens", 0)}
    if not isinstance(row["finished"], bool):
        raise BadDocument(f"must be true or false, not {row['finished']!r:.60}", "finished")
    if not isinstance(row["tokens"], int):
        raise BadDocument(f"must be a whole number, not {row['tokens']!r:.60}", "tokens")
    if not isinstance(row.get("seed_id"), str | None):
        raise BadDocument(f"must be a string, not {row['seed_id']!r:.60}", "seed_id")
    others = {name: value for name, value in row.items() if name != "text"}
    if not _kept(others):
        bad = next(name for name, value in others.items() if not _kept({name: value}))
        raise BadDocument("cannot be kept: no JSON in UTF-8 can hold it", bad)
    return row


def _kept(fields: JsonObject) -> bool:
    """Whether the output can represent them: no lone surrogates, and valid UTF-8 in parquet files."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True


def _seed_rows(generations: _Generations, seeds: Source, work: Path, tokenizer: TextTokenizer) -> dict[str | None, int]:
    """Writes the dataset WORK/seeds of the referenced seed documents; returns their rows by id."""
    named: dict[str, tuple[Path, int]] = {}

    def note(row: JsonObject, path: Path, line: int) -> None:
        if row.get("seed_id") is not None:
            named.setdefault(row["seed_id"], (path, line))

    for _ in generations.rows("seeds", note):
        pass
    check_unique_ids(seeds)
    rows: dict[str | None, int] = {}

    def documents() -> Iterator[JsonObject]:
        for document in seeds.documents():
            if document.id in named and document.id not in rows and document.text.strip():
                rows[document.id] = len(rows)
                yield {"text": document.text}

    texts = work / f"seeds{JSONL_ZST}"
    files.write_jsonl_zst(texts, documents())
    for missing in (id for id in named if id not in rows):
        path, line = named[missing]
        raise InputError(f"no seed document has the id {missing!r}", file=path, line=line, key="seed_id")
    if rows:
        preprocess_documents([str(texts)], work / "seeds", tokenizer)
    return rows


def _index(corpus: Path, shingle: int, rules: Filter, work: Path) -> Path:
    """Writes the index of a corpus; returns its folder."""
    folder = work / "corpus_index"
    plan = plan_corpus_index(corpus, shingle, rules.corpus_index_gb)
    for part in range(plan.parts):
        write_index_part(corpus, shingle, plan, part, folder)
        say(f"index of the corpus: part {part + 1} of {plan.parts}")
    close_index(shingle, plan, folder)
    return folder
