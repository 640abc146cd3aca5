"""Several models that answer as one: they vote, or the one that is surest of its text is taken."""

from crucible.kitchen.handlers.ensemble._completer import completers, confidence, most_confident
from crucible.kitchen.handlers.ensemble._llm import of
from crucible.kitchen.handlers.ensemble._voting import MODES, STRATEGIES, Mode, Strategy, Voting, normalized

__all__ = [
    "MODES",
    "STRATEGIES",
    "Mode",
    "Strategy",
    "Voting",
    "completers",
    "confidence",
    "most_confident",
    "normalized",
    "of",
]
