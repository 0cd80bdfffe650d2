"""Generation with transformers: bit-exact on CPU for any number of workers.

Shape suffixes: B rows still in the batch, S tokens so far, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from megatron_sbp.base.device import compute_device
from megatron_sbp.base.errors import InputError
from megatron_sbp.base.memory import is_out_of_memory
from megatron_sbp.base.progress import say
from megatron_sbp.checkpoint.causal_model import load_causal_model
from megatron_sbp.synthesis import cached_attention as attention
from megatron_sbp.synthesis.cache import RoomyCache
from megatron_sbp.synthesis.engine import EngineSettings, Written
from megatron_sbp.synthesis.generations import Generation
from megatron_sbp.synthesis.token_sampling import sample, stream_keys, uniforms

if TYPE_CHECKING:
    from transformers import PretrainedConfig

COMPACT_BELOW = 0.85
"""A batch is reduced to its unfinished texts once their share falls below this."""


PADDED = 0.05
"""Maximum share of padding among prompts processed together, if there are enough of similar length."""
_LEAST_TOGETHER = 4


class TransformersEngine:
    """Batched sampling on a Hugging Face checkpoint.

    Batches come from the plan and each runs on one thread, so on a CPU, the output does not depend on the number of
    workers, cores, or interruptions. The same is true on a GPU if its kernels are deterministic.

    Raises:
        InputError: the checkpoint does not load, lacks weights, has an unsupported type of attention, or does not fit;
            CUDA is requested and there is none.
    """

    def __init__(self, settings: EngineSettings):
        self.settings = settings
        self.device = torch.device(compute_device(settings.device))
        attention.register()
        model = load_causal_model(
            settings.checkpoint,
            torch.bfloat16 if settings.precision == "bf16" else torch.float32,
            # sdpa: transformers' choice on GPUs, whose kernels for grouped heads want no mask.
            attention.NAME if self.device.type == "cpu" else "sdpa",
        )
        self._window = _window(model.config.get_text_config(), settings.checkpoint)
        try:
            self.model = model.to(self.device).eval()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(f"the synthesizer does not fit into {self._memory}", file=settings.checkpoint) from error

    def write(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> list[Written]:
        """Generates one text per generation, all in one batch, or in two if memory is short: see `Engine`.

        Raises:
            InputError: the synthesizer gives NaN, half a batch does not fit into memory either, or a text may be longer
                than the model's attention window.
        """
        longest = max(map(len, prompts)) + self.settings.max_new_tokens
        if self._window is not None and longest > self._window:
            raise InputError(
                f"attends to the last {self._window:,} tokens only, and a prompt with its text has up to {longest:,}: "
                "this engine would attend to all of them; take the engine vllm",
                file=self.settings.checkpoint,
            )
        with torch.inference_mode(), _one_thread(self.device):
            written = self._write_if_it_fits(generations, prompts)
            half = len(generations) // 2
            if written is None and half:
                say(f"{len(generations)} texts at once do not fit into {self._memory}, trying {half}")
                first = self._write_if_it_fits(generations[:half], prompts[:half])
                rest = None if first is None else self._write_if_it_fits(generations[half:], prompts[half:])
                written = None if first is None or rest is None else first + rest
        if written is None:
            raise InputError(
                f"batches of {half or 1} with texts of up to {longest:,} tokens do not fit into {self._memory}",
                key="synthesis.batch_size",
            )
        return written

    @property
    def _memory(self) -> str:
        return "the GPU's memory" if self.device.type == "cuda" else "memory"

    def _write_if_it_fits(
        self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]
    ) -> list[Written] | None:
        try:
            return self._write(generations, prompts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # The frames of the exception held tensors, which are free only now.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _write(self, generations: Sequence[Generation], prompts: Sequence[np.ndarray]) -> list[Written]:
        settings = self.settings
        there_BS = self._flush_right(prompts)[1]
        positions = there_BS.sum(1, keepdim=True) - 1
        logits_BV, cache = self._prefill(prompts)
        keys = stream_keys(generations, settings.seed)
        written = np.empty((len(generations), settings.max_new_tokens), np.int64)
        lengths = np.zeros(len(generations), np.int64)
        finished = np.zeros(len(generations), bool)
        rows = np.arange(len(generations))  # of the generations still in the batch
        active = np.ones(len(generations), bool)  # of these
        for position in range(settings.max_new_tokens):
            if logits_BV.isnan().any():
                raise InputError("the synthesizer produces NaN: its training went wrong", file=settings.checkpoint)
            logits_BV[:, list(settings.forbidden)] = float("-inf")
            uniform = torch.from_numpy(uniforms(keys[rows], position)).to(self.device)
            drawn = sample(logits_BV, uniform, settings.temperature, settings.top_p)
            chosen = drawn.cpu().numpy()
            ended = active & (chosen == settings.end_of_document)
            finished[rows[ended]] = True
            active &= ~ended
            written[rows[active], position] = chosen[active]
            lengths[rows[active]] = position + 1
            if not active.any() or position + 1 == settings.max_new_tokens:
                break
            there_BS = torch.cat([there_BS, there_BS.new_ones(len(rows), 1)], dim=1)
            tokens, positions = drawn[:, None], positions + 1
            if active.mean() < COMPACT_BELOW:
                kept = torch.from_numpy(np.flatnonzero(active)).to(self.device)
                cache.batch_select_indices(kept)
                tokens, positions, there_BS = tokens[kept], positions[kept], there_BS[kept]
                rows, active = rows[active], active[active]
            logits_BV = self._logits(tokens, there_BS[:, None, None], positions, cache)
        return [Written(written[row, : lengths[row]].copy(), bool(done)) for row, done in enumerate(finished)]

    def _prefill(self, prompts: Sequence[np.ndarray]) -> tuple[torch.Tensor, RoomyCache]:
        """Prefills the prompts, those of similar length together: the logits of the last position [B, V], and the
        cache."""
        groups = prefill_groups([len(prompt) for prompt in prompts])
        if len(groups) == 1:
            return self._read(prompts)
        read = [self._read([prompts[row] for row in group]) for group in groups]
        rows = [torch.tensor(group, device=self.device) for group in groups]
        logits_BV = read[0][0].new_empty(len(prompts), read[0][0].size(1))
        for group, (logits, _) in zip(rows, read, strict=True):
            logits_BV[group] = logits
        return logits_BV, RoomyCache.joined([cache for _, cache in read], rows)

    def _read(self, prompts: Sequence[np.ndarray]) -> tuple[torch.Tensor, RoomyCache]:
        """Prefills prompts in one forward pass."""
        tokens, there_BS = self._flush_right(prompts)
        positions = (there_BS.cumsum(1) - 1).clamp(min=0)
        width = tokens.size(1)
        causal_SS = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        itself_SS = torch.eye(width, dtype=torch.bool, device=self.device)
        # Padding attends to itself, since a row without attention would be NaN.
        mask = ((there_BS[:, None] & causal_SS) | itself_SS)[:, None]
        cache = RoomyCache(self.model.config.num_hidden_layers)
        return self._logits(tokens, mask, positions, cache), cache

    def _logits(
        self, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: RoomyCache
    ) -> torch.Tensor:
        """Logits [B, V] after the last of these tokens, which are added to the cache."""
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1]

    def _flush_right(self, prompts: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded prompts: ids int64 [B, S], and their mask, bool [B, S]."""
        width = max(len(prompt) for prompt in prompts)
        tokens = torch.zeros(len(prompts), width, dtype=torch.long)
        there = torch.zeros(len(prompts), width, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = torch.from_numpy(np.asarray(prompt, np.int64))
            there[row, width - len(prompt) :] = True
        return tokens.to(self.device), there.to(self.device)


def prefill_groups(lengths: Sequence[int]) -> list[list[int]]:
    """Groups the prompts of a batch that are prefilled together: all, unless more than a twentieth would be padding.

    Args:
        lengths: tokens of each prompt.

    Returns:
        Rows of each group, the longest first; all groups but the last have at least four.
    """
    groups: list[list[int]] = [[]]
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        group = groups[-1]
        with_it = tokens + lengths[row]
        if len(group) >= _LEAST_TOGETHER and with_it < (1 - PADDED) * lengths[group[0]] * (len(group) + 1):
            groups.append([])
            with_it = lengths[row]
        groups[-1].append(row)
        tokens = with_it
    width = max(lengths)
    if sum(lengths) >= (1 - PADDED) * width * len(lengths):
        return [list(range(len(lengths)))]
    return groups


def _window(config: PretrainedConfig, checkpoint: Path) -> int | None:
    """A model's attention window in tokens; None if unlimited.

    The masks here are for full attention in every layer, and models use them unchanged.
    """
    kinds = getattr(config, "layer_types", None)  # for models with different layers
    window = getattr(config, "sliding_window", None)
    other = sorted({*(kinds or ())} - {"full_attention", "sliding_attention"})
    if getattr(config, "attn_logit_softcapping", None):
        other.append("attn_logit_softcapping")
    if other:
        message = f"has {other[0]}, which this engine does not compute; take the engine vllm"
        raise InputError(message, file=checkpoint)
    return window if kinds is None or "sliding_attention" in kinds else None


@contextlib.contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Makes sums independent of the number of cores; processes share the cores instead."""
    if device.type != "cpu":
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
