"""Where the report reads from: what is missing is None, what is first stays first."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_sbp.base import files
from megatron_sbp.base.errors import InputError
from megatron_sbp.report.sources import ReportSources, SynthesizerSources, Trained, read_if_present


def sources(synthesizers: dict[str, SynthesizerSources]) -> ReportSources:
    trained = {"sbp": Trained(Path("models/sbp"), Path("evaluation/sbp.json"))}
    other = {"sbp": Trained(Path("replicates/2/models/sbp"), Path("x"))}
    return ReportSources(*[Path("x")] * 3, [trained, other], [synthesizers, {}], Path("stages"), [])


def synthesizer(model: str) -> SynthesizerSources:
    return SynthesizerSources(*[Path("x")] * 4, Path(model), Path("q"), Path("r"), [])


def test_the_first_replicate_and_the_first_synthesizer_are_shown_in_full():
    found = sources({"related": synthesizer("one"), "random": synthesizer("two")})
    assert found.arms["sbp"].model == Path("models/sbp")
    assert [one.model for one in found.synthesizers.values()] == [Path("one"), Path("two")]


def test_files_of_a_training():
    found = Trained(Path("models/sbp"), Path("e.json"))
    assert (found.consumed, found.metrics) == (Path("models/sbp/consumed.json"), Path("models/sbp/metrics.jsonl"))


def test_a_missing_file_is_none_and_a_damaged_one_an_error(tmp_path):
    assert read_if_present(tmp_path / "none.json") is None
    files.write_json(tmp_path / "there.json", {"a": 1})
    assert read_if_present(tmp_path / "there.json") == {"a": 1}
    (tmp_path / "broken.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"broken.json"):
        read_if_present(tmp_path / "broken.json")
