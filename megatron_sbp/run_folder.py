"""Where everything of one run lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_sbp.recipe import Recipe

SPLITS = ("train", "oracle", "valid", "test")
"""Splits of documents/. `oracle` holds the further documents only; the oracle arm trains on train and oracle."""

ARMS = ("baseline", "sbp", "oracle")
"""The three arms, in the order in which they are reported."""

MODELS = ("baseline", "synthesizer", "sbp", "oracle")


def shard_name(index: int) -> str:
    """`00003`: the number of a shard as it stands in file names and unit names."""
    return f"{index:05d}"


@dataclass(frozen=True)
class Run:
    """A recipe together with its run folder. Paths only: nothing is created here."""

    recipe: Recipe
    root: Path

    @staticmethod
    def of(recipe: Recipe) -> Run:
        """The run of a recipe: `run_folder`, or runs/NAME below the current folder."""
        return Run(recipe, Path(recipe.run_folder or f"runs/{recipe.name}").resolve())

    @property
    def recipe_file(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def plan_file(self) -> Path:
        return self.root / "plan.json"

    @property
    def results_file(self) -> Path:
        return self.root / "results.json"

    @property
    def report_file(self) -> Path:
        return self.root / "report" / "index.html"

    @property
    def tokenizer(self) -> Path:
        """Folder that `AutoTokenizer.from_pretrained` and Megatron's HuggingFaceTokenizer load."""
        return self.root / "tokenizer"

    @property
    def audit_documents(self) -> Path:
        """Counts of documents read, dropped (with reasons) and split."""
        return self.root / "documents" / "audit.json"

    def documents(self, split: str) -> Path:
        """Folder with NNNNN.jsonl.zst of one split."""
        return self.root / "documents" / split

    def document_shards(self, split: str) -> list[Path]:
        """The files of one split, in order."""
        return sorted(self.documents(split).glob("[0-9]*.jsonl.zst"))

    def tokens(self, name: str) -> Path:
        """Prefix of a Megatron IndexedDataset (NAME.bin, NAME.idx): real, oracle, valid, test, pairs, valid_pairs,
        synthetic. `oracle` holds all of the oracle arm's documents, D included."""
        return self.root / "tokens" / name

    def embeddings(self, split: str) -> Path:
        """Folder with NNNNN.npy, float16 [documents, dim], rows in the order of documents/SPLIT/NNNNN.jsonl.zst."""
        return self.root / "embeddings" / split

    def neighbors(self, split: str) -> Path:
        """Folder with NNNNN.npz: ids int64 [documents, k] (row numbers over all shards of the split, -1 for none),
        scores float32 [documents, k]."""
        return self.root / "neighbors" / split

    def pairs(self, split: str) -> Path:
        """Parquet of the kept pairs: seed, target (row numbers over all shards of the split), seed_id, target_id,
        score. `train` for tuning, `valid` for early stopping."""
        return self.root / "pairs" / ("pairs.parquet" if split == "train" else f"{split}_pairs.parquet")

    @property
    def audit_pairs(self) -> Path:
        return self.root / "pairs" / "audit.json"

    def model(self, name: str) -> Path:
        """Folder of Megatron checkpoints, logs and blend.lock.json of one training. `start` is there while the tuning
        runs from `tuning.start`: that checkpoint as Megatron reads it."""
        return self.root / "models" / name

    def export(self, name: str) -> Path:
        """Hugging Face checkpoint of one training."""
        return self.root / "export" / name

    @property
    def drafts(self) -> Path:
        """Folder with NNNNN.jsonl.zst: everything that the synthesizer wrote, before the filters."""
        return self.root / "synthetic" / "drafts"

    @property
    def synthetic(self) -> Path:
        """Folder with NNNNN.jsonl.zst: synthetic documents that passed the filters, with their parents."""
        return self.root / "synthetic"

    @property
    def audit_synthetic(self) -> Path:
        return self.root / "synthetic" / "audit.json"

    def evaluation(self, name: str) -> Path:
        """JSON of one arm, or `quality`."""
        return self.root / "evaluation" / f"{name}.json"

    @property
    def manifests(self) -> Path:
        return self.root / "stages"

    def log(self, stage: str, name: str) -> Path:
        """Log file of a process that works on a stage."""
        return self.root / "logs" / stage / f"{name}.log"

    def relative(self, path: Path) -> str:
        """A path inside the run folder as manifests write it."""
        return path.relative_to(self.root).as_posix()
