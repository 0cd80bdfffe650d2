#!/usr/bin/env python3
"""Whether the engines transformers and vLLM write the same text from a trained synthesizer, in one process.

    .venv-vllm/bin/python benchmarks/engines_agree.py --run RUN [--texts 200] [--draws 2000] [--repeats 500]

Prompts are those of the run: its documents, cut as its synthesizer reads them, and a separator. Three comparisons:

- the most probable text of every prompt, token by token. Where the two differ, the logits of the two tokens say whether
  they were a tie in float32 (closer than 1e-4);
- draws of one token where the next one is least certain, of each engine against the probabilities of the nucleus,
  which are computed in float64 from the checkpoint's logits: chi-square;
- whole texts of the same prompt, one engine against the other: the token at some places, and the length: chi-square
  of two samples.

Every text has a seed of its own, from the run's seed and the generation's identity. Prints Markdown tables; exit status
1 if a text differs without a tie, a token is outside the nucleus, or a p-value is below 0.001 / the number of tests.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
TIE = 1e-4
SIGNIFICANCE = 1e-3
CONTEXTS, PROMPTS = 6, 2
PLACES = (0, 1, 4, 16)
ENGINES: tuple[Literal["transformers", "vllm"], ...] = ("transformers", "vllm")

type Text = tuple[list[int], bool]
"""Tokens of a text, and whether it came to its end."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run folder with export/synthesizer")
    parser.add_argument("--texts", type=int, default=200, help="prompts whose most probable texts are compared")
    parser.add_argument("--draws", type=int, default=2000, help="single tokens per place and engine")
    parser.add_argument("--repeats", type=int, default=500, help="whole texts per prompt and engine")
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--max-seed-tokens", type=int, default=96)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import torch
    import transformers
    import vllm
    from transformers import AutoModelForCausalLM

    from megatron_sbp.recipe import Vllm
    from megatron_sbp.synthesis.engine import EngineSettings
    from megatron_sbp.synthesis.engines import load_engine
    from megatron_sbp.synthesis.generations import Generation, generations
    from megatron_sbp.synthesis.synthesizer import prompt_of, write_all
    from megatron_sbp.tokenization.indexed import open_indexed
    from megatron_sbp.tokenization.tokenizer import load_tokenizer

    checkpoint = options.run / "export" / "synthesizer"
    tokenizer, real = load_tokenizer(options.run / "tokenizer"), open_indexed(options.run / "tokens" / "real")
    forbidden, end = list(tokenizer.never_in_text), tokenizer.end_of_document
    rows = [planned.row for planned in generations(0, options.texts, len(real), options.seed)]
    prompts = [prompt_of(real[row], tokenizer, options.max_seed_tokens, "tail") for row in rows]
    reference = AutoModelForCausalLM.from_pretrained(checkpoint).eval().double()

    def logits_after(tokens: Sequence[int]) -> torch.Tensor:
        """Of all next tokens, float64 [vocabulary]; minus infinity for those that must not come."""
        with torch.no_grad():
            found = reference(torch.tensor([list(tokens)])).logits[0, -1]
        found[forbidden] = float("-inf")
        return found

    settings = EngineSettings(
        checkpoint, "", end, tuple(forbidden), options.temperature, options.top_p, options.max_new_tokens,
        options.seed, device="cpu", vllm=Vllm(),
    )  # fmt: skip
    engines: dict[str, Any] = {name: load_engine(name, settings) for name in ENGINES}  # Any: settings are changed below

    def written(
        name: str, planned: list[Generation], asked: Sequence[np.ndarray], **other: Any
    ) -> list[Text]:  # Any: of EngineSettings
        engine = engines[name]
        engine.settings = dataclasses.replace(settings, **other)
        found = write_all(engine, planned, asked, batch_size=64)
        return [(text.tokens.tolist(), text.finished) for text in found]

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"vLLM {vllm.__version__}, transformers {transformers.__version__}, torch {torch.__version__}, {device}; "
        f"temperature {options.temperature:g}, top-p {options.top_p:g}, seed of the run {options.seed}\n"
    )

    # The most probable texts.
    planned = [Generation(row, 0) for row in rows]
    greedy = {name: written(name, planned, prompts, top_p=1e-6) for name in ENGINES}
    ties = wrong = 0
    for prompt, (ours, _), (theirs, _) in zip(prompts, *greedy.values(), strict=True):
        one, other = [*ours, end], [*theirs, end]
        place = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
        if place is not None:
            logits = logits_after([*prompt.tolist(), *ours[:place]])
            tie = float(logits.max() - logits[[one[place], other[place]]].min()) < TIE
            ties, wrong = ties + tie, wrong + (not tie)
    tokens = sum(len(text) for text, _ in greedy["transformers"])
    equal = sum(one == other for one, other in zip(*greedy.values(), strict=True))
    distinct = len({tuple(text) for text, _ in greedy["transformers"]})
    finished = sum(done for _, done in greedy["transformers"])
    print(
        "| most probable texts | tokens | distinct | ended by themselves | equal | differ at a tie | differ otherwise |"
    )
    print("|---|---|---|---|---|---|---|")
    print(f"| {len(prompts)} | {tokens:,} | {distinct} | {finished} | {equal} | {ties} | {wrong} |\n")

    # Single tokens, where the next one is least certain.
    places = []
    for prompt, (text, _) in zip(prompts[:50], greedy["transformers"], strict=False):
        for length in range(0, len(text), 3):
            context = [*prompt.tolist(), *text[:length]]
            shares = logits_after(context).softmax(0)
            places.append((float(torch.special.entr(shares).sum()), context))
    places.sort(reverse=True)
    pvalues, outside = [], 0
    print("| place | tokens in the nucleus | most probable | transformers: p | vLLM: p |\n|---|---|---|---|---|")
    for number, (_, context) in enumerate(places[:: max(1, len(places) // 4 // CONTEXTS)][:CONTEXTS], 1):
        nucleus = nucleus_of(logits_after(context), options.temperature, options.top_p)
        cells = []
        for name in ENGINES:
            asked = [Generation(number, draw) for draw in range(options.draws)]
            texts = written(name, asked, [np.array(context)] * options.draws, max_new_tokens=1)
            drawn = Counter(text[0] if text else end for text, _ in texts)
            outside += sum(count for token, count in drawn.items() if token not in nucleus)
            pvalues.append(fits(drawn, nucleus, options.draws))
            cells.append(f"{pvalues[-1]:.3f}")
        print(f"| {number} | {len(nucleus)} | {max(nucleus.values()):.1%} | {' | '.join(cells)} |")
    print(f"\n{options.draws:,} draws per place and engine; {outside} of them are outside the nucleus.\n")

    # Whole texts.
    print("| prompt | mean length: transformers | vLLM | p of the length | " + " | ".join(
        f"p of token {place + 1}" for place in PLACES) + " |")  # fmt: skip
    print("|---" * (4 + len(PLACES)) + "|")
    for number in range(PROMPTS):
        asked = [Generation(rows[number], 1 + repeat) for repeat in range(options.repeats)]
        both = [[text for text, _ in written(name, asked, [prompts[number]] * len(asked))] for name in ENGINES]
        lengths = [np.array([len(text) for text in texts]) for texts in both]
        edges = np.unique(np.quantile(np.concatenate(lengths), np.linspace(0, 1, 9)[1:-1]))
        binned = [Counter(np.searchsorted(edges, own).tolist()) for own in lengths]
        at = [
            [Counter(text[place] if place < len(text) else end for text in texts) for texts in both] for place in PLACES
        ]
        own = [alike(*binned), *(alike(*counts) for counts in at)]
        pvalues += [p for p in own if p is not None]
        means = " | ".join(f"{length.mean():.1f}" for length in lengths)
        cells = ["one token" if p is None else f"{p:.3f}" for p in own]
        print(f"| {number + 1} | {means} | {' | '.join(cells)} |")
    limit = SIGNIFICANCE / len(pvalues)
    print(
        f"\n{options.repeats:,} texts per prompt and engine. The smallest of {len(pvalues)} p-values is "
        f"{min(pvalues):.3f}; {sum(p < 0.05 for p in pvalues)} are below 0.05, and {0.05 * len(pvalues):.1f} would be "
        f"by chance. The engines would count as different below {limit:.1g}."
    )
    return int(wrong > 0 or outside > 0 or min(pvalues) < limit)


def nucleus_of(logits: Any, temperature: float, top_p: float) -> dict[int, float]:  # Any: torch comes later
    """The smallest set of tokens that has `top_p` of the probability, with its shares."""
    ordered, order = (logits / temperature).softmax(0).sort(descending=True)
    inside = ordered.cumsum(0) - ordered < top_p
    shares = ordered[inside] / ordered[inside].sum()
    return dict(zip(order[inside].tolist(), shares.tolist(), strict=True))


def fits(drawn: Counter[int], nucleus: dict[int, float], draws: int) -> float:
    """p of a chi-square test of draws against a nucleus; tokens expected less than five times are one class."""
    from scipy import stats

    often = [token for token, share in nucleus.items() if share * draws >= 5]
    seen, expected = [drawn[token] for token in often], [nucleus[token] for token in often]
    if len(often) < len(nucleus):
        seen, expected = [*seen, draws - sum(seen)], [*expected, 1 - sum(expected)]
    return float(stats.chisquare(seen, np.array(expected) / sum(expected) * sum(seen)).pvalue)


def alike(one: Counter[int], other: Counter[int]) -> float | None:
    """p of a chi-square test of two samples; what is seen less than ten times is one class, None if there is one."""
    from scipy import stats

    often = [key for key in sorted(one.keys() | other.keys()) if one[key] + other[key] >= 10]
    table = np.array([[*(c[key] for key in often), c.total() - sum(c[key] for key in often)] for c in (one, other)])
    table = table[:, table.sum(axis=0) > 0]
    return None if table.shape[1] < 2 else float(stats.chi2_contingency(table).pvalue)


if __name__ == "__main__":
    raise SystemExit(main())
