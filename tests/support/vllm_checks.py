"""A small model for vLLM, and what its texts must be: those of transformers, or samples of the nucleus."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from support.synthesis_run import save_random_model
from support.vllm_environment import HEAD

END, PADDING, SEPARATOR, VOCABULARY, CONTEXT = 0, 1, 2, 90, 128


def make_model(folder: Path) -> None:
    """Texts end after about 15 tokens; padding would be certain everywhere, even with a bias of -100 against it."""
    made = save_random_model(folder, VOCABULARY, END, 15, head_dim=HEAD)
    with torch.no_grad():
        constant = made.model(torch.tensor([[5, 6, SEPARATOR]])).last_hidden_state[0, :, 0].mean()
        made.lm_head.weight[PADDING] = 0
        made.lm_head.weight[PADDING, 0] = 200 / constant
        likely = made(torch.tensor([[5, 6, SEPARATOR]])).logits[0, -1].softmax(0)[PADDING]
        against = made(torch.tensor([[5, 6, SEPARATOR]])).logits[0, -1]
        against[PADDING] -= 100
    assert likely > 0.999999 and against.softmax(0)[PADDING] > 0.999999
    made.save_pretrained(folder)


def make_prompts() -> list[list[int]]:
    """40 prompts of 2 to 60 tokens."""
    random = np.random.default_rng(2)
    return [[*random.integers(3, VOCABULARY, random.integers(1, 60)).tolist(), SEPARATOR] for _ in range(40)]


def logits_after(checkpoint: Path, tokens: list[int], forbidden: list[int]) -> torch.Tensor:
    """Of the next token, float32 [vocabulary]; minus infinity for what must not come."""
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(checkpoint).eval()(torch.tensor([tokens])).logits[0, -1]
    logits[forbidden] = float("-inf")
    return logits


def ties(
    checkpoint: Path, prompts: list, expected: list, written: list, *, forbidden: list[int], tie: float, end: int = END
) -> int:
    """How many texts differ from where two tokens are equally probable, by `tie` in their logits; others must not."""
    found = 0
    for prompt, (tokens, _), (theirs, _) in zip(prompts, expected, written, strict=True):
        ends = [*tokens, end], [*theirs, end]
        place = next((place for place, pair in enumerate(zip(*ends, strict=False)) if pair[0] != pair[1]), None)
        if place is not None:
            logits = logits_after(checkpoint, [*prompt, *tokens[:place]], forbidden)
            assert logits.max() - logits[[ends[0][place], ends[1][place]]].min() < tie, place
            found += 1
    return found


def nucleus_pvalue(logits: torch.Tensor, drawn: Counter[int], temperature: float, top_p: float) -> float:
    """Chi-square of draws against the nucleus; every draw must be in it."""
    ordered, order = (logits.double() / temperature).softmax(0).sort(descending=True)
    inside = ordered.cumsum(0) - ordered < top_p
    nucleus = dict(zip(order[inside].tolist(), (ordered[inside] / ordered[inside].sum()).tolist(), strict=True))
    assert set(drawn) <= set(nucleus) and len(nucleus) > 5
    draws = drawn.total()
    often = [token for token, share in nucleus.items() if share * draws >= 5]
    rest = [1 - sum(nucleus[token] for token in often)] if len(often) < len(nucleus) else []
    seen = [drawn[token] for token in often] + [draws - sum(drawn[token] for token in often)] * len(rest)
    expected = np.array([nucleus[token] for token in often] + rest)
    return float(stats.chisquare(seen, expected / expected.sum() * draws).pvalue)
