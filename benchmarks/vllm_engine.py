#!/usr/bin/env python3
"""Generation speed of our vLLM engine, beside vLLM called directly with all prompts at once, in one process.

    .venv-vllm/bin/python benchmarks/vllm_engine.py [--checkpoint RUN/export/synthesizer] [--texts 256] [--repeats 3]

Both write the same texts with the same model, seeds and settings; they take turns. Ours hands requests over little by
little and keeps finished texts on disk while others are being written (synthesis/streaming.py); the peer is one call of
`LLM.generate`. Without --checkpoint the model of benchmarks/synthesis.py is made. Prints a Markdown table; tokens per
second of CPU time are steadier on a busy machine than tokens per second.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from synthesis import END, PADDING, SEPARATOR, make_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="Hugging Face checkpoint with ids 0, 1, 2 as in a run's own")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, nargs=2, default=(150, 200), metavar=("FROM", "TO"))
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--mean-tokens", type=int, default=100, help="of a text, when the model is made here")
    parser.add_argument("--max-num-seqs", type=int, help="as synthesis.vllm.max_num_seqs")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    import numpy as np
    import torch

    from megatron_sbp.recipe import Vllm
    from megatron_sbp.synthesis.engine import EngineSettings, Written
    from megatron_sbp.synthesis.generations import Generation
    from megatron_sbp.synthesis.synthesizer import write_all
    from megatron_sbp.synthesis.token_sampling import stream_keys
    from megatron_sbp.synthesis.unfinished import Unfinished
    from megatron_sbp.synthesis.vllm_engine import VllmEngine

    with tempfile.TemporaryDirectory() as made:
        folder = options.checkpoint or Path(made)
        if options.checkpoint is None:
            make_model(folder, options.mean_tokens)
        choices = Vllm(max_num_seqs=options.max_num_seqs)
        settings = EngineSettings(
            folder, "", END, (PADDING, SEPARATOR), 1.0, 0.9, options.max_new_tokens, 1, options.precision, vllm=choices
        )
        engine = VllmEngine(settings)
        model = engine.model
        vocabulary = model.llm_engine.vllm_config.model_config.get_vocab_size()
        random = np.random.default_rng(1)
        low, high = options.prompt_tokens
        prompts = [random.integers(3, vocabulary, length) for length in random.integers(low, high + 1, options.texts)]

        def planned(turn: int) -> list[Generation]:
            return [Generation(row, turn) for row in range(len(prompts))]

        def ours(turn: int) -> list[Written]:
            unfinished = Unfinished(Path(made) / f"{turn}.zst", "x")
            return write_all(engine, planned(turn), prompts, batch_size=1, unfinished=unfinished)

        def direct(turn: int) -> list[Written]:
            # Ours reads the longest first, which changes the batches; the peer gets the same order.
            order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
            keys = stream_keys(planned(turn), settings.seed)
            outputs = model.generate(
                [{"prompt_token_ids": prompts[row].tolist()} for row in order],
                [engine._parameters(keys[row]) for row in order],
                use_tqdm=False,
            )
            written = dict(zip(order, (engine._written(output.outputs[0]) for output in outputs), strict=True))
            return [written[row] for row in range(len(prompts))]

        figures: dict[str, list[tuple[float, float, int]]] = {"direct": [], "ours": []}
        same: list[bool] = []
        direct(0), ours(0)  # warm up
        for turn in range(1, options.repeats + 1):
            texts = {}
            for name, write in (("direct", direct), ("ours", ours))[:: 1 if turn % 2 else -1]:
                model.reset_prefix_cache()
                wall, cpu = time.perf_counter(), time.process_time()
                texts[name] = write(turn)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                count = sum(len(text.tokens) + text.finished for text in texts[name])
                figures[name].append((count / wall, count / cpu, count))
            same += [
                bool(np.array_equal(mine.tokens, other.tokens))
                for mine, other in zip(texts["ours"], texts["direct"], strict=True)
            ]
    import vllm

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = f"vLLM {vllm.__version__}, torch {torch.__version__}, {device}"
    print(f"{options.texts} texts, medians of {options.repeats} turns, {versions}\n")
    print("| | tokens per text | tokens/s | tokens per CPU second |\n|---|---|---|---|")
    for name, label in (("direct", "LLM.generate, all prompts at once"), ("ours", "megatron_sbp engine")):
        wall, cpu, count = (statistics.median(column) for column in zip(*figures[name], strict=True))
        print(f"| {label} | {count / options.texts:.0f} | {wall:,.0f} | {cpu:,.0f} |")
    ratios = [
        [mine[column] / other[column] for mine, other in zip(figures["ours"], figures["direct"], strict=True)]
        for column in (0, 1)
    ]
    print(f"| engine / LLM.generate, of one turn | | {' | '.join(f'{statistics.median(one):.3f}' for one in ratios)} |")
    listed = "; of CPU time: ".join(", ".join(f"{ratio:.3f}" for ratio in one) for one in ratios)
    print(f"\nRatios of the turns: {listed}. {np.mean(same):.1%} of the texts are the same.")


if __name__ == "__main__":
    main()
