#!/usr/bin/env python3
"""Generation speed of the transformers engine, beside transformers' own generate(), in one process and one run.

    python benchmarks/synthesis.py [--checkpoint RUN/export/synthesizer] [--batch-size 64] [--repeats 3]

Both write texts for the same prompts in the same batches, on one thread, in float32, with temperature 1 and top-p 0.9;
they take turns. Tokens count up to end-of-document. Without --checkpoint a Qwen3 model with random weights is made: 4
layers, width 256, 4,096 tokens, whose texts end after 100 tokens on average and whose next token is about as uncertain
as a small language model's (perplexity near 60). Prints a Markdown table; tokens per second of CPU time are steadier on
a busy machine than tokens per second.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
END, PADDING, SEPARATOR = 0, 1, 2


def make_model(folder: Path, mean_tokens: int) -> None:
    """Random weights with two properties of a trained model: uncertainty, and texts that end."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=4096, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=1024, tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        # One channel is nearly constant, and end-of-document reads it: so its probability is nearly constant, too.
        model.model.embed_tokens.weight[:, 0] = 0.3
        hidden = model.model(torch.randint(3, 4096, (4, 64))).last_hidden_state.flatten(0, 1)
        rest = hidden[:, 1:].norm(dim=1).mean()
        head = model.lm_head.weight
        head.normal_(0, math.sqrt(2 * (math.log(4096) - math.log(60))) / rest.item())
        head[:, 0] = 0
        head[END] = 0
        wanted = (hidden @ head.T).logsumexp(1).mean() - math.log(mean_tokens)
        head[END, 0] = wanted / hidden[:, 0].mean()
    model.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="Hugging Face checkpoint with ids 0, 1, 2 as in a run's own")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, nargs=2, default=(150, 200), metavar=("FROM", "TO"))
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--mean-tokens", type=int, default=100, help="of a text, when the model is made here")
    options = parser.parse_args()
    import numpy as np
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    from megatron_sbp.base.quiet import quiet_libraries
    from megatron_sbp.synthesis.engine import EngineSettings
    from megatron_sbp.synthesis.generations import Generation
    from megatron_sbp.synthesis.transformers_engine import TransformersEngine

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made, quiet_libraries():
        if options.checkpoint is None:
            make_model(Path(made), options.mean_tokens)
        folder = options.checkpoint or Path(made)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        settings = EngineSettings(folder, "", END, (PADDING, SEPARATOR), 1.0, 0.9, options.max_new_tokens, 1)
        ours = TransformersEngine(settings)
        random = np.random.default_rng(1)
        low, high = options.prompt_tokens
        lengths = random.integers(low, high + 1, options.batch_size)
        prompts = [random.integers(3, theirs.config.vocab_size, length) for length in lengths]

        def engine(turn: int, limit: int) -> int:
            assert limit == options.max_new_tokens
            written = ours.write([Generation(row, turn) for row in range(len(prompts))], prompts)
            return sum(len(text.tokens) + text.finished for text in written)

        def generate(turn: int, limit: int) -> int:
            torch.manual_seed(turn)
            width = max(lengths)
            tokens = torch.full((len(prompts), width), PADDING)
            for row, prompt in enumerate(prompts):
                tokens[row, width - len(prompt) :] = torch.from_numpy(prompt)
            output = theirs.generate(
                tokens, attention_mask=(tokens != PADDING).long(), do_sample=True, temperature=1.0, top_p=0.9, top_k=0,
                max_new_tokens=limit, eos_token_id=END, pad_token_id=PADDING,
                suppress_tokens=[PADDING, SEPARATOR],
            )[:, width:]  # fmt: skip
            ended = (output == END).int()
            return int((ended.cumsum(1) - ended == 0).sum())  # up to the first end-of-document, that one included

        with torch.inference_mode():
            engine(0, options.max_new_tokens), generate(0, 2)  # compile, warm up
            figures: dict[str, list[tuple[float, float, int]]] = {"generate": [], "engine": []}
            for turn in range(1, options.repeats + 1):
                for name, write in (("generate", generate), ("engine", engine)):
                    wall, cpu = time.perf_counter(), time.process_time()
                    tokens_written = write(turn, options.max_new_tokens)
                    seconds = (time.perf_counter() - wall, time.process_time() - cpu)
                    figures[name].append((tokens_written / seconds[0], tokens_written / seconds[1], tokens_written))
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    print(f"batch {options.batch_size}, medians of {options.repeats} turns, one thread, {versions}\n")
    print("| | tokens per text | tokens/s | tokens per CPU second |\n|---|---|---|---|")
    middle = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()}
    for name, label in (("generate", "transformers generate()"), ("engine", "megatron_sbp engine")):
        wall, cpu, count = middle[name]
        print(f"| {label} | {count / options.batch_size:.0f} | {wall:,.0f} | {cpu:,.0f} |")
    ratios = [
        statistics.median(mine[column] / other[column] for mine, other in zip(*figures.values(), strict=True))
        for column in (0, 1)
    ]
    print(f"| engine / generate() | | {1 / ratios[0]:.2f} | {1 / ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
