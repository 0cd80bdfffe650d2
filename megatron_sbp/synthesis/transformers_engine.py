"""Generation with transformers: exact to the byte on CPU, whatever the number of workers."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatron_sbp.synthesis.draws import Draw

COMPACT_BELOW = 0.75
"""A batch is cut down to its unfinished texts when these are a smaller share of it than this."""


@dataclass(frozen=True)
class Written:
    """What the synthesizer wrote for one draw.

    Attributes:
        tokens: int64 [n], end-of-document not included.
        finished: whether end-of-document came.
    """

    tokens: np.ndarray
    finished: bool


class TransformersEngine:
    """Batched sampling on a Hugging Face checkpoint.

    Batches come from the plan and each runs on one thread, so that no number of workers, cores or interruptions changes
    a byte of what a CPU writes. On a GPU the same holds as far as its kernels give the same result twice.

    Args:
        checkpoint: folder with config.json and safetensors.
        end_of_document: id that ends a text.
        forbidden: ids that never come.
        temperature: of the softmax.
        top_p: nucleus.
        max_new_tokens: end-of-document included.
        seed: the run's seed.
        precision: fp32 or bf16.
        device: auto, cpu or cuda.
    """

    def __init__(
        self,
        checkpoint: Path,
        end_of_document: int,
        forbidden: Sequence[int],
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        seed: int,
        precision: str = "fp32",
        device: str = "auto",
    ):
        warnings.filterwarnings("ignore")
        logging.getLogger("transformers").setLevel(logging.ERROR)
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if chosen == "cpu":
            torch.set_num_threads(1)
        self.device = torch.device(chosen)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype).to(self.device).eval()
        self.end, self.forbidden = end_of_document, list(forbidden)
        self.temperature, self.top_p, self.limit, self.seed = temperature, top_p, max_new_tokens, seed

    def write(self, draws: Sequence[Draw], prompts: Sequence[np.ndarray]) -> list[Written]:
        """Writes one text per draw; one batch.

        Args:
            draws: identities, from which the random streams follow.
            prompts: tokens of each prompt, separator included; int64 [n] each.
        """
        import torch
        from transformers import DynamicCache

        from megatron_sbp.synthesis.sampling import sample, stream_keys, uniforms

        rows = np.arange(len(draws))
        keys = stream_keys(draws, self.seed)
        width = max(len(prompt) for prompt in prompts)
        # Prompts stand flush right; what is left of them is masked out and has no position.
        tokens = torch.zeros(len(draws), width, dtype=torch.long)
        mask = torch.zeros(len(draws), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = torch.from_numpy(np.asarray(prompt, np.int64))
            mask[row, width - len(prompt) :] = 1
        tokens, mask = tokens.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.model.config)
        written: list[list[int]] = [[] for _ in draws]
        finished = np.zeros(len(draws), bool)
        active = np.ones(len(draws), bool)  # of the rows that are still in the batch
        with torch.inference_mode():
            for position in range(self.limit):
                output = self.model(
                    input_ids=tokens,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                logits = output.logits[:, -1]
                logits[:, self.forbidden] = float("-inf")
                uniform = torch.from_numpy(uniforms(keys[rows], position)).to(self.device)
                drawn = sample(logits, uniform, self.temperature, self.top_p)
                chosen = drawn.cpu().numpy()
                for place in np.flatnonzero(active):
                    if chosen[place] == self.end:
                        finished[rows[place]], active[place] = True, False
                    else:
                        written[rows[place]].append(int(chosen[place]))
                if not active.any() or position + 1 == self.limit:
                    break
                tokens, positions = drawn[:, None], positions[:, -1:] + 1
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
                if active.mean() < COMPACT_BELOW:
                    kept = torch.from_numpy(np.flatnonzero(active)).to(self.device)
                    cache.batch_select_indices(kept)
                    tokens, positions, mask = tokens[kept], positions[kept], mask[kept]
                    rows, active = rows[active], active[active]
        return [Written(np.array(ids, np.int64), bool(done)) for ids, done in zip(written, finished, strict=True)]


os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
