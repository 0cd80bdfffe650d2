"""Log-probabilities of tokens under a causal language model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

# Rows of logits that are turned into probabilities at once: bounds memory at 50k entries to a few hundred MB.
_ROWS = 2048


@torch.inference_mode()
def token_losses(model: Any, tokens: np.ndarray) -> np.ndarray:
    """Cross-entropy of every token given those before it in its row.

    Args:
        model: a causal language model of transformers, in float32.
        tokens: int64 [batch, length], no padding.

    Returns:
        float32 [batch, length - 1] in nats: entry t is the loss of token t + 1.
    """
    device = next(model.parameters()).device
    inputs = torch.from_numpy(np.ascontiguousarray(tokens)).to(device)
    logits = model(input_ids=inputs[:, :-1], use_cache=False).logits
    flat, targets = logits.reshape(-1, logits.shape[-1]), inputs[:, 1:].reshape(-1)
    parts = [
        torch.nn.functional.cross_entropy(flat[at : at + _ROWS].float(), targets[at : at + _ROWS], reduction="none")
        for at in range(0, len(targets), _ROWS)
    ]
    return torch.cat(parts).reshape(tokens.shape[0], -1).cpu().numpy()
