"""Tests mirror the package: what is in megatron_sbp/A/B.py is tested in tests/A/test_B.py."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_module_has_its_test_file():
    modules = [file.relative_to(ROOT / "megatron_sbp") for file in (ROOT / "megatron_sbp").rglob("*.py")]
    places = {
        Path("tests", module.parent, f"test_{module.stem.strip('_')}.py")
        for module in modules
        if module.name != "__init__.py"
    }
    assert len(places) > 300
    missing = sorted(str(place) for place in places if not (ROOT / place).exists())
    assert not missing, f"not there: {', '.join(missing)}"
