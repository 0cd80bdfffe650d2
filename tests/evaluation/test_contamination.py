"""Items by kind and group of texts."""

from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.evaluation.contamination import Contamination, ItemsIn
from megatron_sbp.evaluation.shard_reading import read_shards

ITEMS = {"questions": ["one two three four five six seven eight", "one two"], "test documents": ["a b c d e f g h i"]}


def test_items_and_texts_are_counted_by_group(tmp_path):
    found = Contamination(ITEMS)
    texts = ["nothing", f"Yes: {ITEMS['questions'][0]}.", f"{ITEMS['questions'][0]}! {ITEMS['test documents'][0]}"]
    for text in texts[:2]:
        found.look("real", text)
    shard = tmp_path / "00000.jsonl.zst"
    files.write_jsonl_zst(shard, ({"text": text} for text in texts))
    looking = ItemsIn(Contamination(ITEMS), "synthetic")
    read_shards(looking, [shard], 3, "items")
    found.absorb(looking.found())
    assert found.figures() == {
        "items": {"questions": 1, "test documents": 1},
        "too_short": {"questions": 1, "test documents": 0},
        "found": {
            "real": {"questions": 1, "test documents": 0},
            "synthetic": {"questions": 1, "test documents": 1},
        },
        "texts": {"real": 1, "synthetic": 2},
        "words": [13, 8],
    }


def test_several_processes_count_the_same(tmp_path):
    shards = [tmp_path / f"{number:05d}.jsonl.zst" for number in range(3)]
    for number, shard in enumerate(shards):
        files.write_jsonl_zst(shard, [{"id": str(number), "text": ITEMS["questions"][0]}] * (number + 1))
    figures = []
    for processes in (1, 3):
        looking = ItemsIn(Contamination(ITEMS), "synthetic")
        read_shards(looking, shards, 6, "items", processes)
        figures.append(looking.items.figures())
    assert figures[0] == figures[1] and figures[0]["texts"] == {"synthetic": 6}
