"""`sbp tokenize`: tokenizes the documents shard by shard and joins the parts."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base import files
from megatron_sbp.base.progress import say
from megatron_sbp.base.shard_names import JSONL_ZST
from megatron_sbp.documents import SPLITS
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.run_folder import Run
from megatron_sbp.stages.stage import Stage


class TokenizeStage(Stage):
    """Tokenizes documents/ shard by shard and merges the parts."""

    name = "tokenize"
    title = "tokenize the documents into Megatron IndexedDatasets"
    sharded = True
    lists_inputs = True

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"documents": (usual.document_shards("*"),), "tokenizer": (usual.inside(usual.TOKENIZER),)}

    def units(self, run: Run) -> list[str]:
        return [f"{split}-{shard_stem(shard)}" for split in SPLITS for shard in run.document_shards(split)]

    def owns(self, run: Run) -> tuple[str, ...]:
        return (
            usual.token_parts(self.name),
            *dataset_files("real", "oracle", "valid", "test"),
            usual.audit_tokens("audit"),
        )

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        split, _, number = unit.partition("-")
        return tokenize_shard(run, self.name, unit, run.document_shard(split, number))

    def finish(self, run: Run) -> list[Path]:
        from megatron_sbp.tokenization.documents import merge_parts

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
            merged, audit[name] = merge_parts(run.tokens(name), prefixes, run.tokenizer)
            written += merged
            say(f"tokenize: {name} has {audit[name]['documents']:,} documents, {audit[name]['tokens']:,} tokens")
        files.write_json(run.audit_tokens("audit"), audit)
        return [*written, run.audit_tokens("audit")]

    def intermediate(self, run: Run, path: Path) -> bool:
        return path.is_relative_to(run.token_parts(self.name))


def shard_stem(shard: Path) -> str:
    """`00003` of 00003.jsonl.zst."""
    return shard.name.removesuffix(JSONL_ZST)


def dataset_files(*names: str) -> list[str]:
    """Files of datasets below the run folder, in the order in which they are removed."""
    # The index goes first: without it no program mistakes the tokens for a dataset.
    return [usual.tokens(name, suffix) for name in names for suffix in ("idx", "bin")]


def tokenize_shard(run: Run, stage: str, unit: str, shard: Path, *, written: bool = False) -> list[Path]:
    """Tokenizes one shard to a part of a dataset; `merge_parts` joins the parts.

    Args:
        run: the run.
        stage: name of the stage.
        unit: of the stage.
        shard: .jsonl.zst.
        written: whether a synthesizer wrote the texts: ids in their rows are taken as they are.
    """
    from megatron_sbp.tokenization import documents
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    tokenize = documents.tokenize_written if written else documents.tokenize_shard
    return tokenize(shard, run.token_parts(stage) / unit, load_tokenizer(run.tokenizer), label=f"{stage} {unit}")
