"""The stages `tokenizer`, `tokenize`, `tokenize-pairs` and `tokenize-synthetic`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.progress import Progress, say
from megatron_sbp.planning import ledger
from megatron_sbp.recipe import Recipe, settings
from megatron_sbp.stages.run_folder import SPLITS, Run
from megatron_sbp.stages.stage import Stage

_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "config.json")
"""What transformers reads of a tokenizer's folder, besides SentencePiece's `*.model`."""


class TokenizerStage(Stage):
    """Trains a byte-level BPE on the train split, or adopts a Hugging Face tokenizer."""

    name = "tokenizer"
    title = "train a tokenizer on the train split, or copy a Hugging Face one"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {} if run.recipe.tokenizer.path else {"documents": ("documents/train/*.jsonl.zst",)}

    def external(self, run: Run) -> list[Path]:
        folder = local_tokenizer(run.recipe)
        return [] if folder is None else sorted({p for p in _tokenizer_files(folder) if p.is_file()})

    def settings(self, run: Run) -> dict[str, Any]:
        chosen = run.recipe.tokenizer
        if chosen.path is None:
            return settings(chosen)
        # A folder counts by its contents (see `external`), a name on the hub by its name.
        path = None if local_tokenizer(run.recipe) else chosen.path
        return {**settings(chosen, "vocab_size", "train_characters"), "path": path, "adopted": True}

    def owns(self, run: Run) -> tuple[str, ...]:
        return ("tokenizer",)

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.tokenization.tokenizer import ROLES, save_tokenizer

        chosen = run.recipe.tokenizer
        roles = {role: getattr(chosen, role) for role in ROLES}
        for place, role in enumerate(ROLES):
            if not roles[role] or roles[role] in list(roles.values())[:place]:
                raise InputError(f"{roles[role]!r} is empty or has two roles", key=f"tokenizer.{role}")
        if chosen.path is None:
            tokenizer = self._train(run, roles)
        else:
            from megatron_sbp.tokenization.hugging_face import adopt_tokenizer

            tokenizer = adopt_tokenizer(local_tokenizer(run.recipe) or chosen.path, roles)
            given = ", ".join(f"{role} {token}" for role, token in tokenizer.roles.items())
            say(f"tokenizer: {chosen.path}, {tokenizer.vocab_size:,} entries; {given}")
        return save_tokenizer(run.tokenizer, tokenizer)

    def _train(self, run: Run, roles: dict[str, str]):
        from megatron_sbp.tokenization.bpe import MIN_VOCAB_SIZE, train_bpe

        chosen = run.recipe.tokenizer
        if chosen.vocab_size < MIN_VOCAB_SIZE:
            raise InputError(
                f"must be at least {MIN_VOCAB_SIZE} (256 bytes and {len(roles)} special tokens), not "
                f"{chosen.vocab_size}",
                file=run.recipe.source,
                key="tokenizer.vocab_size",
            )
        shards = run.document_shards("train")
        texts = (row["text"] for shard in shards for row in files.read_jsonl_zst(shard))
        tokenizer = train_bpe(texts, chosen.vocab_size, roles, chosen.train_characters)
        if tokenizer.vocab_size < chosen.vocab_size:
            say(
                f"tokenizer: byte-level BPE, {tokenizer.vocab_size:,} entries: the train split has no more merges than "
                f"that (tokenizer.vocab_size is {chosen.vocab_size:,})"
            )
        else:
            say(f"tokenizer: byte-level BPE, {tokenizer.vocab_size:,} entries")
        return tokenizer


class TokenizeStage(Stage):
    """Tokenizes documents/ shard by shard and merges the parts."""

    name = "tokenize"
    title = "documents to Megatron IndexedDatasets"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"documents": ("documents/*/*.jsonl.zst",), "tokenizer": ("tokenizer/*",)}

    def units(self, run: Run) -> list[str]:
        return [f"{split}-{_stem(shard)}" for split in SPLITS for shard in run.document_shards(split)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return (f"tokens/parts/{self.name}", *_datasets("real", "oracle", "valid", "test"), "tokens/audit.json")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        split, _, number = unit.partition("-")
        return _tokenize_shard(run, self, unit, run.documents(split) / f"{number}.jsonl.zst")

    def finish(self, run: Run) -> list[Path]:
        parts = {
            split: [run.token_parts(self.name) / unit for unit in self.units(run) if unit.startswith(f"{split}-")]
            for split in SPLITS
        }
        names = {
            "real": parts["train"],
            "oracle": parts["train"] + parts["oracle"],
            "valid": parts["valid"],
            "test": parts["test"],
        }
        written, audit = [], {}
        for name, prefixes in names.items():
            written += _merge(run, name, prefixes)
            audit[name] = _sum(prefixes)
            say(f"tokenize: {name} has {audit[name]['documents']:,} documents, {audit[name]['tokens']:,} tokens")
        files.write_json(run.audit_tokens("audit"), audit)
        return [*written, run.audit_tokens("audit")]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.token_parts(self.name))


class TokenizePairsStage(Stage):
    """Looks the tokens of both documents of every pair up and cuts them to their limits."""

    name = "tokenize-pairs"
    title = "pairs to Megatron IndexedDatasets with two sequences per pair"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {
            "pairs": ("pairs/pairs.parquet", "pairs/valid_pairs.parquet"),
            "tokenize": ("tokens/real.*", "tokens/valid.*"),
            "tokenizer": ("tokenizer/*",),
        }

    def settings(self, run: Run) -> dict[str, Any]:
        recipe = run.recipe
        return {
            "max_seed_tokens": recipe.max_seed_tokens,
            "max_target_tokens": recipe.max_target_tokens,
            "seed_cut": recipe.tuning.seed_cut,
        }

    def owns(self, run: Run) -> tuple[str, ...]:
        return (*_datasets("pairs", "valid_pairs"), "tokens/pairs_audit.json")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        from megatron_sbp.tokenization.indexed import data_file, index_file
        from megatron_sbp.tokenization.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(run.tokenizer)
        written, audit = [], {}
        for name, split, documents in (("pairs", "train", "real"), ("valid_pairs", "valid", "valid")):
            audit[name] = _tokenize_pairs(run, name, split, documents, tokenizer)
            written += [data_file(run.tokens(name)), index_file(run.tokens(name))]
        files.write_json(run.audit_tokens("pairs_audit"), audit)
        return [*written, run.audit_tokens("pairs_audit")]


class TokenizeSyntheticStage(Stage):
    """Tokenizes the synthetic documents, and checks that the SBP arm has as many tokens as it was promised."""

    name = "tokenize-synthetic"
    title = "synthetic documents to a Megatron IndexedDataset"
    sharded = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"filter": ("synthetic/*.jsonl.zst",), "tokenizer": ("tokenizer/*",)}

    def settings(self, run: Run) -> dict[str, Any]:
        return {"needed_tokens": needed_synthetic_tokens(run.recipe)}

    def unit_settings(self, run: Run) -> dict[str, Any]:
        return {}

    def units(self, run: Run) -> list[str]:
        return [_stem(shard) for shard in run.synthetic_shards()]

    def owns(self, run: Run) -> tuple[str, ...]:
        return (f"tokens/parts/{self.name}", *_datasets("synthetic"), "tokens/synthetic_audit.json")

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        return _tokenize_shard(run, self, unit, run.synthetic_shard(unit))

    def finish(self, run: Run) -> list[Path]:
        prefixes = [run.token_parts(self.name) / unit for unit in self.units(run)]
        counts = _sum(prefixes)
        check_synthetic_tokens(run.recipe, counts["tokens"])
        written = _merge(run, "synthetic", prefixes)
        files.write_json(
            run.audit_tokens("synthetic_audit"), {**counts, "needed_tokens": needed_synthetic_tokens(run.recipe)}
        )
        say(f"tokenize-synthetic: {counts['documents']:,} documents, {counts['tokens']:,} tokens")
        return [*written, run.audit_tokens("synthetic_audit")]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.token_parts(self.name))


def needed_synthetic_tokens(recipe: Recipe) -> int:
    """Tokens that tokens/synthetic must have: every sequence of the SBP arm once, and one more token to predict."""
    return ledger.synthetic_samples(recipe) * recipe.model.sequence_length + 1


def check_synthetic_tokens(recipe: Recipe, tokens: int) -> None:
    """Raises InputError when there are fewer synthetic tokens than the SBP arm needs."""
    needed = needed_synthetic_tokens(recipe)
    if tokens >= needed:
        return
    length, margin = recipe.model.sequence_length, recipe.synthesis.margin
    advice = f"lower synthesis.tokens to {max(tokens - 1, 0) // length * length:,}" if tokens > length else ""
    if tokens:
        suggested = -(-10 * 1.05 * margin * needed // tokens) / 10  # 5 % to spare, rounded up to a tenth
        advice = f"raise synthesis.margin to {suggested:g}" + (f", or {advice}" if advice else "")
    else:
        advice = "no synthetic document passed the filters: see synthetic/audit.json"
    raise InputError(
        f"synthesis.tokens {recipe.synthesis.tokens:,} needs {needed:,} synthetic tokens, but with synthesis.margin "
        f"{margin:g} only {tokens:,} are left after the filters; {advice}",
        file=recipe.source,
        key="synthesis.tokens",
    )


def local_tokenizer(recipe: Recipe) -> Path | None:
    """The folder that tokenizer.path names, or None for a name on the hub (and without a path)."""
    path = recipe.tokenizer.path
    if path is None:
        return None
    folder = recipe.folder / path
    if folder.is_dir():
        if not any(_tokenizer_files(folder)):
            raise InputError(f"no tokenizer in the folder {folder}", file=recipe.source, key="tokenizer.path")
        return folder
    if path.startswith((".", "/")) or path.count("/") > 1:
        raise InputError(f"no such folder: {folder}", file=recipe.source, key="tokenizer.path")
    return None


def _tokenizer_files(folder: Path) -> list[Path]:
    return [path for pattern in (*_TOKENIZER_FILES, "*.model") for path in folder.glob(pattern)]


def _stem(shard: Path) -> str:
    return shard.name.removesuffix(".jsonl.zst")


def _datasets(*names: str) -> list[str]:
    # The index goes first: without it no program takes the tokens for a dataset.
    return [f"tokens/{name}.{suffix}" for name in names for suffix in ("idx", "bin")]


def _tokenize_shard(run: Run, stage: Stage, unit: str, shard: Path) -> list[Path]:
    from megatron_sbp.tokenization.encoding import write_texts
    from megatron_sbp.tokenization.indexed import data_file, index_file
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    prefix = run.token_parts(stage.name) / unit
    texts = (row["text"] for row in files.read_jsonl_zst(shard))
    with Progress(f"{stage.name} {unit}", None, "documents") as progress:
        counts = write_texts(texts, prefix, load_tokenizer(run.tokenizer), advance=progress.advance)
    files.write_json(prefix.with_name(f"{unit}.json"), counts.__dict__)
    return [data_file(prefix), index_file(prefix), prefix.with_name(f"{unit}.json")]


def _merge(run: Run, name: str, prefixes: list[Path]) -> list[Path]:
    from megatron_sbp.tokenization.indexed import merge_indexed
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    return merge_indexed(run.tokens(name), prefixes, load_tokenizer(run.tokenizer).dtype)


def _sum(prefixes: list[Path]) -> dict[str, int]:
    from megatron_sbp.tokenization.encoding import TextCounts

    total = TextCounts()
    for prefix in prefixes:
        total += TextCounts(**files.read_json(prefix.with_name(f"{prefix.name}.json")))
    return dict(total.__dict__)


def _tokenize_pairs(run: Run, name: str, split: str, documents: str, tokenizer) -> dict[str, int | float]:
    import pyarrow.parquet

    from megatron_sbp.tokenization.indexed import open_indexed
    from megatron_sbp.tokenization.pairs import PairLimits, write_pairs

    recipe, file = run.recipe, run.pairs(split)
    table = pyarrow.parquet.read_table(file, columns=["seed", "target"])
    if not table.num_rows:
        raise InputError(
            f"no pairs among the {split} documents: lower pairs.alpha ({recipe.pairs.alpha}) or take more documents "
            f"(documents.{split} is {getattr(recipe.documents, split):,})",
            file=file,
            key="pairs.alpha",
        )
    limits = PairLimits(recipe.max_seed_tokens, recipe.max_target_tokens, recipe.tuning.seed_cut)
    with Progress(f"tokenize-pairs {name}", table.num_rows, "pairs") as progress:
        counts = write_pairs(
            run.tokens(name),
            open_indexed(run.tokens(documents)),
            table["seed"].to_numpy(),
            table["target"].to_numpy(),
            limits,
            tokenizer.starts_character,
            tokenizer.end_of_document,
            progress.advance,
        )
    return counts.to_dict()
