"""Log-probabilities of tokens under a causal language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from megatron_sbp.base.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Rows of logits that are turned into probabilities at once: bounds memory at 50k entries to a few hundred MB.
_ROWS = 2048


def token_losses(model: PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    """Cross-entropy of every token given those before it in its row.

    Where a GPU's memory is short, half of the rows at a time.

    Args:
        model: a causal language model of transformers, in float32.
        tokens: int64 [batch, length], no padding.

    Returns:
        float32 [batch, length - 1] in nats: entry t is the loss of token t + 1.

    Raises:
        InputError: a single row does not fit into a GPU's memory.
    """
    try:
        return _token_losses(model, tokens)
    except torch.cuda.OutOfMemoryError as error:
        if len(tokens) == 1:
            raise InputError(
                f"a sequence of {tokens.shape[1]:,} tokens does not fit into the GPU's memory in float32 beside the "
                "model; evaluate on a GPU with more of it, or with launch.device=cpu",
                key="launch.device",
            ) from error
    torch.cuda.empty_cache()  # here: the frames of the exception held tensors
    half = len(tokens) // 2
    return np.concatenate([token_losses(model, tokens[:half]), token_losses(model, tokens[half:])])


@torch.inference_mode()
def _token_losses(model: PreTrainedModel, tokens: np.ndarray) -> np.ndarray:
    device = next(model.parameters()).device
    inputs = torch.from_numpy(np.ascontiguousarray(tokens)).to(device)
    logits = model(input_ids=inputs[:, :-1], use_cache=False).logits
    flat, targets = logits.reshape(-1, logits.shape[-1]), inputs[:, 1:].reshape(-1)
    parts = [
        torch.nn.functional.cross_entropy(flat[at : at + _ROWS].float(), targets[at : at + _ROWS], reduction="none")
        for at in range(0, len(targets), _ROWS)
    ]
    return torch.cat(parts).reshape(tokens.shape[0], -1).cpu().numpy()
