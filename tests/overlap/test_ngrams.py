"""Word n-grams are nltk's, and nothing of the filters imports nltk."""

from __future__ import annotations

import subprocess
import sys

import nltk
import pytest

from megatron_sbp.overlap.ngrams import ngrams


@pytest.mark.parametrize("n", [1, 2, 4, 13])
def test_they_are_those_of_nltk(texts, n):
    for words in ([], ["one"], ["a", "b", "a", "b"], *(text.split() for text in texts[:20])):
        assert list(ngrams(words, n)) == list(nltk.ngrams(words, n))


def test_stages_start_without_nltk():
    """It takes seconds in each of their processes; self-BLEU alone needs it."""
    program = (
        "import sys, megatron_sbp.synthesis.judging, megatron_sbp.synthesis.keeping, megatron_sbp.evaluation.measure\n"
        "print(sorted({'nltk', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
