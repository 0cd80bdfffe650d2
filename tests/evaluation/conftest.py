"""What tests of a judge behind an endpoint share."""

from __future__ import annotations

import pytest


@pytest.fixture
def judge_environment(monkeypatch):
    from support.endpoint_judge import KEY

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
