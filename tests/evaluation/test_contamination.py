"""Items by kind and group of texts."""

from __future__ import annotations

from megatron_sbp.base import files
from megatron_sbp.evaluation.contamination import Contamination

ITEMS = {"questions": ["one two three four five six seven eight", "one two"], "test documents": ["a b c d e f g h i"]}


def test_items_and_texts_are_counted_by_group(tmp_path):
    found = Contamination(ITEMS)
    texts = ["nothing", f"Yes: {ITEMS['questions'][0]}.", f"{ITEMS['questions'][0]}! {ITEMS['test documents'][0]}"]
    for text in texts[:2]:
        found.look("real", text)
    shard = tmp_path / "00000.jsonl.zst"
    files.write_jsonl_zst(shard, ({"text": text} for text in texts))
    found.look_at_all("synthetic", [shard], 3)
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
