"""Small tasks for lm-eval, written by a test: multiple choice, perplexity of text, answers that are written."""

from __future__ import annotations

import json
from pathlib import Path

COLORS = ("red", "green", "blue", "black")

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: data/{name}.jsonl}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
doc_to_choice: choices
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.5}}
"""

PERPLEXITY = """
task: prose
dataset_path: json
dataset_kwargs: {data_files: {test: data/prose.jsonl}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
metadata: {version: 1.0}
"""

WRITTEN = """
task: written
dataset_path: json
dataset_kwargs: {data_files: {test: data/colors.jsonl}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["."], do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""

GROUP = """
group: both
task: [colors, tones]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
metadata: {version: 1.0}
"""


def write_tasks(folder: Path, questions: int = 12) -> Path:
    """Writes the tasks colors, tones (multiple choice), both (their group), prose and written; returns the folder."""
    (folder / "data").mkdir(parents=True)
    for name, number in (("colors", questions), ("tones", questions // 2)):
        (folder / f"{name}.yaml").write_text(CHOICE.format(name=name))
        rows = [
            {"question": f"Thing {place} of the {name} is", "choices": COLORS, "answer": place % 4}
            for place in range(number)
        ]
        _write(folder / "data" / f"{name}.jsonl", rows)
    for name, text in (("prose", PERPLEXITY), ("written", WRITTEN), ("both", GROUP)):
        (folder / f"{name}.yaml").write_text(text)
    _write(
        folder / "data" / "prose.jsonl", [{"text": f"Once there were {n} ways to say it. " * (n + 1)} for n in range(6)]
    )
    return folder


def _write(file: Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
