"""Checks of what goes to a model and comes back: personal data, phrases against its instructions, rules of your own."""

from crucible.kitchen.handlers.guardrails._checks import (
    DOES,
    PLACES,
    Check,
    Does,
    Place,
    jailbreaks,
    matching,
    personal_data,
    prompt_injection,
)
from crucible.kitchen.handlers.guardrails._guarded import GuardrailTripped, guarded
from crucible.kitchen.handlers.guardrails._personal import (
    PERSONAL_DATA,
    Find,
    Span,
    emails,
    has_iban_sum,
    has_luhn_sum,
    ibans,
    payment_cards,
    phone_numbers,
    social_security_numbers,
)
from crucible.kitchen.handlers.guardrails._phrases import STRICTNESS, Strictness

__all__ = [
    "DOES",
    "PERSONAL_DATA",
    "PLACES",
    "STRICTNESS",
    "Check",
    "Does",
    "Find",
    "GuardrailTripped",
    "Place",
    "Span",
    "Strictness",
    "emails",
    "guarded",
    "has_iban_sum",
    "has_luhn_sum",
    "ibans",
    "jailbreaks",
    "matching",
    "payment_cards",
    "personal_data",
    "phone_numbers",
    "prompt_injection",
    "social_security_numbers",
]
