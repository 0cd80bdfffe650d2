"""The paper's figures, to show beside ours. Source: arXiv 2509.15248 as compiled in docs/paper.md.

All of them carry mark S there: known from one summary, not checked against the paper's full text.
"""

from __future__ import annotations

MARK = "S"

MARKS = (
    "V the paper's own abstract or introduction; S2 two or more independent summaries; S one summary; "
    "A arithmetic from those; M recalled, unverified; O ours, the paper's choice is unknown."
)

QA = (
    # scale, baseline, gain of SBP, gain of the oracle (percentage points), share of the oracle's gain
    ("200B-3B", 47.66, 2.32, 5.54, 0.42),
    ("1T-3B", 55.35, 0.84, 1.73, 0.48),
    ("1T-6B", 58.29, 1.32, 2.26, 0.58),
)
"""Mean accuracy in percent on ARC-Challenge, ARC-Easy, SciQ, WinoGrande, TriviaQA, WebQuestions."""

QUALITY = (
    # what, 200B-3B, 1T-3B, 1T-6B, real text; percent
    ("repetition (a document loops)", 4.3, 3.9, 2.6, 1.8),
    ("duplicate@1M", 0.8, 0.8, 0.3, 0.7),
    ("non-factual (judge model)", 15.1, 8.7, 6.5, 1.8),
    ("pair-irrelevance (judge model)", 25.6, 7.8, 6.0, None),
    ("pair-copying", 0.1, 0.9, 0.3, None),
)

SIMILARITY = {"SBP": 0.66, "tuned on random pairs": 0.32}
"""Mean similarity of a synthetic document to its seed document."""
