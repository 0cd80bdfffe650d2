"""Export and import hold one piece of a layer in memory, however many layers there are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from megatron_sbp.recipe import Model

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "export_memory.py"


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_peak_memory_does_not_grow_with_the_layers(tmp_path):
    spec = importlib.util.spec_from_file_location("export_memory", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    layers, hidden, ffn = 48, 512, 2048
    model = Model(
        num_layers=layers, hidden_size=hidden, ffn_hidden_size=ffn, num_attention_heads=4, num_query_groups=2,
        sequence_length=64,
    )  # fmt: skip
    largest, stack = 2 * hidden * ffn, 2 * 2 * ffn * hidden * layers
    for way, row in benchmark.measure(model, 2048, tmp_path).items():
        growth = row["peak"] - row["before"]
        print(
            f"{way}: {growth / 2**20:.0f} MiB in {row['seconds']:.1f} s; a stack of layers is {stack / 2**20:.0f} MiB"
        )
        assert growth < 2 * largest + 2**25 < stack / 4, way
