"""Default names of files and folders in a run folder, for the patterns that stages read and own; `run_folder.py` has
the paths."""

from __future__ import annotations

from megatron_sbp.base.hugging_face_names import CONFIG
from megatron_sbp.base.hugging_face_names import TOKENIZER as TOKENIZER_JSON
from megatron_sbp.base.shard_names import JSONL_ZST, NUMBERED
from megatron_sbp.checkpoint.model_folder import CONSUMED, METRICS
from megatron_sbp.checkpoint.tracker import METADATA

TOKENIZER = "tokenizer"
TOKENIZER_FILE = f"{TOKENIZER}/{TOKENIZER_JSON}"
CORPUS_INDEX = "corpus_index"
CORPUS_INDEX_FILE = f"{CORPUS_INDEX}/index.json"
AUDIT_DOCUMENTS = "documents/audit.json"
AUDIT_NEIGHBORS = "neighbors/audit.json"
PAIRS = "pairs"
AUDIT_PAIRS = f"{PAIRS}/audit.json"
SYNTHETIC = "synthetic"
SYNTHETIC_FILES = f"{SYNTHETIC}/{NUMBERED}"
GENERATIONS = f"{SYNTHETIC}/generations"
MORE_GENERATIONS = f"{SYNTHETIC}/more.json"
GENERATED = f"{SYNTHETIC}/generated.json"
PILOT = f"{SYNTHETIC}/pilot"
AUDIT_PILOT = f"{SYNTHETIC}/pilot.json"
SIMILARITIES = f"{SYNTHETIC}/similarity"
JUDGED = f"{SYNTHETIC}/judged"
REPEATS = f"{SYNTHETIC}/repeats"
REPEATS_OF_VERSION_1 = f"{SYNTHETIC}/repeats.npz"
SHARD_AUDITS = f"{SYNTHETIC}/audits"
AUDIT_SYNTHETIC = f"{SYNTHETIC}/audit.json"
TASK_ITEMS = "evaluation_items"
MODELS, EXPORTS, EVALUATIONS, HARNESS = "models", "export", "evaluation", "harness"
LOCK = ".lock"
"""Files in a folder that several processes write to."""
RESULTS, REPORT = "results.json", "report"


def below(folder: str, *names: str) -> tuple[str, ...]:
    """Names in a folder."""
    return tuple(f"{folder}/{name}" for name in names)


def inside(folder: str) -> str:
    """Pattern of everything in a folder."""
    return f"{folder}/*"


def documents(split: str) -> str:
    """Pattern of all files of a split."""
    return f"documents/{split}/*"


def document_shards(split: str) -> str:
    """Pattern of the shards of a split."""
    return f"documents/{split}/*{JSONL_ZST}"


def tokens(name: str, suffix: str = "*") -> str:
    """File of a dataset; by default the pattern of both."""
    return f"tokens/{name}.{suffix}"


def audit_tokens(name: str) -> str:
    """Token and document counts of datasets."""
    return f"tokens/{name}.json"


def token_parts(stage: str) -> str:
    """Folder with the tokens of a stage's units."""
    return f"tokens/parts/{stage}"


def embeddings(split: str) -> str:
    """Folder of the embeddings of a split."""
    return f"embeddings/{split}"


def embedding_shards(split: str) -> str:
    """Pattern of the embeddings of a split."""
    return f"embeddings/{split}/*.npy"


def neighbor_shards(split: str) -> str:
    """Pattern of the neighbors of a split."""
    return f"neighbors/{split}/*.npz"


def pairs(split: str) -> str:
    """The pairs of a split."""
    return f"{PAIRS}/{'pairs' if split == 'train' else f'{split}_pairs'}.parquet"


def model(name: str) -> str:
    """Folder of a training run."""
    return f"{MODELS}/{name}"


def checkpoints(name: str) -> str:
    """Pattern of a training run's checkpoints."""
    return f"{MODELS}/{name}/iter_*"


def consumed(name: str) -> str:
    """Samples that a training run has consumed, in its model's folder."""
    return f"{model(name)}/{CONSUMED}"


def metrics(name: str) -> str:
    """Metrics of every step of a training run."""
    return f"{model(name)}/{METRICS}"


def metadata(name: str) -> str:
    """Pattern of the file that completes a checkpoint."""
    return f"{checkpoints(name)}/{METADATA}"


def export(name: str) -> str:
    """Folder of an exported model."""
    return f"{EXPORTS}/{name}"


def weights(name: str) -> tuple[str, ...]:
    """Pattern of an exported model's weights, and its configuration file."""
    return below(export(name), "*.safetensors", CONFIG)


def synthetic_shard(name: str) -> str:
    """Synthetic documents that passed the filters."""
    return f"{SYNTHETIC}/{name}{JSONL_ZST}"


def generation_shard(name: str) -> str:
    """Raw generations."""
    return f"{GENERATIONS}/{name}{JSONL_ZST}"


def pilot_shard(name: str) -> str:
    """Generations of the pilot."""
    return f"{PILOT}/{name}{JSONL_ZST}"


def similarity(name: str) -> str:
    """How similar the generations of a shard are to their seed documents."""
    return f"{SIMILARITIES}/{name}.npy"


def judged(part: str, name: str) -> str:
    """One of the files that the filters write for a shard of generations."""
    return f"{JUDGED}/{part}/{name}.npy"


def repeats(name: str) -> str:
    """Which generations of a shard duplicate earlier ones."""
    return f"{REPEATS}/{name}.npy"


def corpus_findings(sheet: str) -> str:
    """Folder with the overlap between D and the texts of a quality sheet."""
    return f"{SYNTHETIC}/corpus_findings/{sheet}"


def of_synthesizer(name: str) -> str:
    """Folder of an additional synthesizer's files."""
    return f"synthesizers/{name}"


def of_replicate(number: int) -> str:
    """Folder of an additional replicate's files."""
    return f"replicates/{number}"
