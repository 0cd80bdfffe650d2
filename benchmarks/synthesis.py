#!/usr/bin/env python3
"""Generation speed of the transformers engine, beside transformers' own generate(), in one process and one run.

    python benchmarks/synthesis.py [--checkpoint RUN/export/synthesizer] [--texts 256] [--batch-size 64] [--repeats 3]

Prompts are the documents of the quick start, at most 200 tokens of each (as its synthesizer reads them) and a
separator: real text of all lengths, in the order of the corpus. Both write one text for each with temperature 1 and
top-p 0.9, at most 312 tokens, on one thread, in float32. The peer takes batches in the given order, padded on the left,
as generate() is used; ours is what the stage calls, which makes batches of prompts of similar length and lets finished
texts go. They take turns. Tokens count up to end-of-document.

Without --checkpoint a Qwen3 model with random weights is made, by default of the quick start's shape: 4 layers, width
128, 2,048 tokens. Its next token is about as uncertain as a small language model's (perplexity near 60). Its texts end
with the same probability after every token, so that their mean length is that of the quick start's documents cut at 312
tokens; the table has the quartiles of both. Prints a Markdown table;
tokens per second of CPU time are steadier on a busy machine than tokens per second.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"
END, PADDING, SEPARATOR = 0, 1, 2
SEED_TOKENS = 200
CORPUS = Path(__file__).resolve().parents[1] / "examples" / "quickstart" / "foldoc.jsonl.zst"


def make_model(folder: Path, mean_tokens: float, width: int = 256, vocabulary: int = 4096) -> None:
    """Random weights with two properties of a trained model: uncertainty, and texts that end."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=width // 64 * 176, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=width // 4, max_position_embeddings=1024,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        # One channel is nearly constant, and end-of-document reads it: so its probability is nearly constant, too.
        model.model.embed_tokens.weight[:, 0] = 0.3
        hidden = model.model(torch.randint(3, vocabulary, (4, 64))).last_hidden_state.flatten(0, 1)
        rest = hidden[:, 1:].norm(dim=1).mean()
        head = model.lm_head.weight
        head.normal_(0, math.sqrt(2 * (math.log(vocabulary) - math.log(60))) / rest.item())
        head[:, 0] = 0
        head[END] = 0
        wanted = (hidden @ head.T).logsumexp(1).mean() - math.log(mean_tokens)
        head[END, 0] = wanted / hidden[:, 0].mean()
    model.save_pretrained(folder)


def real_text(count: int, vocabulary: int, longest: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Prompts for `count` documents, and the lengths of documents as texts to write: both of the quick start."""
    from megatron_sbp.base import files
    from megatron_sbp.tokenization.bpe import train_bpe

    texts = [row["text"] for row in files.read_jsonl_zst(CORPUS)]
    random = np.random.default_rng(1)
    texts = [texts[row] for row in random.choice(len(texts), max(count, 1000), replace=False)]
    tokenizer = train_bpe(texts[:1000], vocabulary, {"end_of_document": "<e>", "padding": "<p>", "separator": "<s>"})
    tokens, lengths = tokenizer.encode_flat(texts, SEPARATOR, np.int64)
    prompts = np.split(tokens, lengths.cumsum()[:-1])
    return [np.append(prompt[:-1][:SEED_TOKENS], SEPARATOR) for prompt in prompts[:count]], np.minimum(lengths, longest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="Hugging Face checkpoint with ids 0, 1, 2 as in a run's own")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=312)
    parser.add_argument("--width", type=int, default=128, help="of the model that is made here")
    parser.add_argument("--vocabulary", type=int, default=2048, help="of the model that is made here")
    options = parser.parse_args()
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    from megatron_sbp.base.quiet import quiet_libraries
    from megatron_sbp.synthesis.engine import EngineSettings
    from megatron_sbp.synthesis.generations import Generation
    from megatron_sbp.synthesis.synthesizer import write_all
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made, quiet_libraries():
        prompts, wanted = real_text(options.texts, options.vocabulary, options.max_new_tokens)
        if options.checkpoint is None:
            make_model(Path(made), float(wanted.mean()), options.width, options.vocabulary)
        folder = options.checkpoint or Path(made)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        if theirs.config.vocab_size < options.vocabulary:
            parser.error(f"--vocabulary {theirs.config.vocab_size}: the checkpoint has no more")
        settings = EngineSettings(folder, "", END, (PADDING, SEPARATOR), 1.0, 0.9, options.max_new_tokens, 1)
        ours = TransformersEngine(settings)

        def engine(turn: int, prompts: list[np.ndarray]) -> list[int]:
            planned = [Generation(row, turn) for row in range(len(prompts))]
            written = write_all(ours, planned, prompts, batch_size=options.batch_size)
            return [len(text.tokens) + text.finished for text in written]

        def generate(turn: int, prompts: list[np.ndarray]) -> list[int]:
            torch.manual_seed(turn)
            found: list[int] = []
            for batch in itertools.batched(prompts, options.batch_size):
                width = max(map(len, batch))
                tokens = torch.full((len(batch), width), PADDING)
                for row, prompt in enumerate(batch):
                    tokens[row, width - len(prompt) :] = torch.from_numpy(prompt)
                output = theirs.generate(
                    tokens, attention_mask=(tokens != PADDING).long(), do_sample=True, temperature=1.0, top_p=0.9,
                    top_k=0, max_new_tokens=options.max_new_tokens, eos_token_id=END, pad_token_id=PADDING,
                    suppress_tokens=[PADDING, SEPARATOR],
                )[:, width:]  # fmt: skip
                ended = (output == END).int()  # counted up to the first end-of-document, that one included
                found += (ended.cumsum(1) - ended == 0).sum(1).tolist()
            return found

        lengths: dict[str, list[int]] = {"generate": [], "engine": []}
        figures: dict[str, list[tuple[float, float]]] = {"generate": [], "engine": []}
        with torch.inference_mode():
            engine(0, prompts[:4]), generate(0, prompts[:4])  # compile, warm up
            for turn in range(1, options.repeats + 1):
                for name, write in (("generate", generate), ("engine", engine)):
                    wall, cpu = time.perf_counter(), time.process_time()
                    found = write(turn, prompts)
                    figures[name].append(
                        (sum(found) / (time.perf_counter() - wall), sum(found) / (time.process_time() - cpu))
                    )
                    lengths[name] += found
                print(f"turn {turn} of {options.repeats}", file=sys.stderr, flush=True)
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(
        f"{options.texts} texts, prompts of {quartiles([len(prompt) for prompt in prompts])} tokens (quartiles), "
        f"batches of {options.batch_size}; documents as long as {quartiles(wanted)}, {np.mean(wanted):.0f} on average; "
        f"medians of {options.repeats} turns, one thread, {versions}; load {os.getloadavg()[0]:.2f}\n"
    )
    print("| | tokens per text | quartiles | tokens/s | tokens per CPU second |\n|---|---|---|---|---|")
    for name, label in (("generate", "transformers generate()"), ("engine", "megatron_sbp engine")):
        wall, cpu = (statistics.median(column) for column in zip(*figures[name], strict=True))
        print(f"| {label} | {np.mean(lengths[name]):.0f} | {quartiles(lengths[name])} | {wall:,.0f} | {cpu:,.0f} |")
    cells = []
    for column in (0, 1):
        pairs = zip(figures["engine"], figures["generate"], strict=True)
        ratios = [mine[column] / other[column] for mine, other in pairs]
        cells.append(f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"| engine / generate(), of one turn | | | {' | '.join(cells)} |")


def quartiles(lengths: Sequence[int] | np.ndarray) -> str:
    return ", ".join(f"{value:.0f}" for value in np.percentile(lengths, [25, 50, 75]))


if __name__ == "__main__":
    main()
