"""Paths of everything made from the corpus: documents, tokens, embeddings, neighbors, pairs."""

from __future__ import annotations

from pathlib import Path

from megatron_sbp.base.shard_names import JSONL_ZST, numbered_shards
from megatron_sbp.stages import usual_names as usual
from megatron_sbp.stages.placed import Placed


class CorpusPaths(Placed):
    """Of the corpus, in the order in which they are made."""

    @property
    def audit_documents(self) -> Path:
        """Counts of documents read, dropped (with reasons) and split."""
        return self.at(usual.AUDIT_DOCUMENTS)

    def documents(self, split: str) -> Path:
        """Folder with NNNNN.jsonl.zst of one split."""
        return self.at(f"documents/{split}")

    def document_shards(self, split: str) -> list[Path]:
        """The files of one split, in order."""
        return numbered_shards(self.documents(split), JSONL_ZST)

    def document_shard(self, split: str, name: str) -> Path:
        """One of them, by its number as in `shard_name`."""
        return self.documents(split) / f"{name}{JSONL_ZST}"

    @property
    def document_parts(self) -> Path:
        """The usable documents of each file of the corpus, until the shards are cut."""
        return self.at("documents/parts")

    @property
    def tokenizer(self) -> Path:
        """Folder that `AutoTokenizer.from_pretrained` and Megatron's HuggingFaceTokenizer load."""
        return self.at(usual.TOKENIZER)

    @property
    def tokenizer_file(self) -> Path:
        """The vocabulary in it, as the library tokenizers reads it."""
        return self.at(usual.TOKENIZER_FILE)

    def tokens(self, name: str) -> Path:
        """Prefix of a Megatron IndexedDataset (NAME.bin, NAME.idx): real, oracle, valid, test, pairs, valid_pairs,
        synthetic. `oracle` holds all of the oracle arm's documents, D included."""
        return self.at(usual.tokens(name, "bin")).with_suffix("")

    def audit_tokens(self, name: str) -> Path:
        """Counts of datasets: `audit` (documents), `pairs_audit`, `synthetic_audit`; `synthetic_parts`, by shard."""
        return self.at(usual.audit_tokens(name))

    def token_parts(self, stage: str) -> Path:
        """Folder of the datasets of a stage's single units; removed when the stage is complete."""
        return self.at(usual.token_parts(stage))

    @property
    def corpus_index(self) -> Path:
        """Folder of the index of D's shingles: index.json, starts/NNNNN.npy and remainders/NNNNN.npy."""
        return self.at(usual.CORPUS_INDEX)

    @property
    def corpus_index_file(self) -> Path:
        """The layout of the index; written last."""
        return self.at(usual.CORPUS_INDEX_FILE)

    def embeddings(self, split: str) -> Path:
        """Folder with NNNNN.npy, float16 [documents, dim], rows in the order of documents/SPLIT/NNNNN.jsonl.zst."""
        return self.at(usual.embeddings(split))

    def embedding_shards(self, split: str) -> list[Path]:
        """The embeddings of one split, in order."""
        return numbered_shards(self.embeddings(split), ".npy")

    def embedding_shard(self, split: str, name: str) -> Path:
        """One of them."""
        return self.embeddings(split) / f"{name}.npy"

    def neighbors(self, split: str) -> Path:
        """Folder with NNNNN.npz: ids int64 [documents, k] (row numbers over all shards of the split, -1 for none),
        scores float32 [documents, k]."""
        return self.at(f"neighbors/{split}")

    def neighbor_shards(self, split: str) -> list[Path]:
        """The neighbors of one split, in order."""
        return numbered_shards(self.neighbors(split), ".npz")

    def neighbor_shard(self, split: str, name: str) -> Path:
        """One of them."""
        return self.neighbors(split) / f"{name}.npz"

    @property
    def neighbors_index(self) -> Path:
        """ScaNN's indexes while the search runs."""
        return self.at("neighbors/index")

    @property
    def audit_neighbors(self) -> Path:
        return self.at(usual.AUDIT_NEIGHBORS)

    def pairs(self, split: str) -> Path:
        """Parquet of the kept pairs: seed, target (row numbers over all shards of the split), seed_id, target_id,
        score. `train` for tuning, `valid` for early stopping."""
        return self.at(usual.pairs(split))

    @property
    def pair_shards(self) -> Path:
        """Folder of the pairs of single shards; removed when all are joined."""
        return self.at("pairs/shards")

    def pair_shard(self, name: str) -> Path:
        """The pairs of one."""
        return self.pair_shards / f"{name}.parquet"

    def pair_shard_audit(self, name: str) -> Path:
        """What was dropped of one."""
        return self.pair_shards / f"{name}.json"

    @property
    def audit_pairs(self) -> Path:
        return self.at(usual.AUDIT_PAIRS)
