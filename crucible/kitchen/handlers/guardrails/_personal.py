"""Personal data in texts: addresses, phone numbers, and numbers that their checksum tells from other numbers."""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""Where in a text something stands: from, and up to."""

Find: TypeAlias = Callable[[str], Iterator[Span]]

_HYPHEN = r"[-\u2010\u2011\u2013]"

_EMAIL = re.compile(
    r"(?<![\w.%+-])[\w%+-](?:[\w.%+-]{0,62}[\w%+-])?@"
    r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[a-z\d-]{2,59}|[^\W\d_]{2,24})"
)

_CARD = re.compile(
    r"(?<!\d)(?<!\d[.,])(?:"
    rf"\d{{13,19}}|\d{{4}}([ ]|{_HYPHEN})\d{{4}}\1\d{{4}}\1\d{{1,4}}(?:\1\d{{1,3}})?|\d{{4}}([ ]|{_HYPHEN})\d{{6}}\2\d{{4,5}}"
    r")(?![.,]?\d)"
)
_CARD_BEGINS = "23456"

_SSN = re.compile(
    rf"(?<!\d)(?<!\d[-.])(?!000|666|9)\d{{3}}({_HYPHEN})(?!00)\d{{2}}\1(?!0000)\d{{4}}(?!\d)(?![-.]\d)", re.ASCII
)

_GAP = rf"(?:[ .]|{_HYPHEN})"
_INTERNATIONAL = re.compile(rf"(?<![\w+])\+[1-9](?:(?:{_GAP}|[ ]?\(|\)(?:[ ]|{_HYPHEN})?)?\d){{7,14}}(?!\d)")
_MOST_GROUPS = 7
_FEWEST_TOGETHER = 10
_AMERICAN = re.compile(
    rf"(?<![\w+])(?<!\d[-. ])(?:1{_GAP})?(?:\([2-9]\d{{2}}\)[ ]?[2-9]\d{{2}}{_GAP}\d{{4}}"
    rf"|[2-9]\d{{2}}({_GAP})[2-9]\d{{2}}\1\d{{4}})(?![.,]?\d)"
)
_TRUNK = re.compile(
    rf"(?<![\w.,+])(?<!\d[-. ])0\d{{2,4}}(?:[ /]|{_HYPHEN})\d{{3,4}}(?:[ ]|{_HYPHEN})?\d{{3,4}}(?![.,]?\d)"
)

_IBAN_BEGINS = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?=[ ]?[A-Za-z0-9])")
_COUNTRIES_BY_LENGTH = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
_IBAN_LENGTHS = {country: length for length, names in _COUNTRIES_BY_LENGTH.items() for country in names.split()}


def emails(text: str) -> Iterator[Span]:
    """Find e-mail addresses.

    >>> [text[a:b] for text in ["write to Ann.Lee+x@mail.example.org."] for a, b in emails(text)]
    ['Ann.Lee+x@mail.example.org']
    """
    return (match.span() for match in _EMAIL.finditer(text))


def has_luhn_sum(digits: str) -> bool:
    """Tell whether the last digit is the check digit of the others (ISO/IEC 7812-1, Luhn).

    >>> has_luhn_sum("79927398713"), has_luhn_sum("79927398714")
    (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 * (doubled > 9)
    return total % 10 == 0


def payment_cards(text: str) -> Iterator[Span]:
    """Find numbers of payment cards: 13 to 19 digits, together or in the groups of a card, with a right check digit.

    One in ten other numbers of that length has a right one too.

    >>> [text[a:b] for text in ["4111 1111 1111 1111, not 4111 1111 1111 1112"] for a, b in payment_cards(text)]
    ['4111 1111 1111 1111']
    """
    for match in _CARD.finditer(text):
        digits = "".join(str(int(each)) for each in match[0] if each.isdecimal())
        if digits[0] in _CARD_BEGINS and 13 <= len(digits) <= 19 and has_luhn_sum(digits):
            yield match.span()


def has_iban_sum(iban: str) -> bool:
    """Tell whether an IBAN without spaces has right check digits (ISO 13616, ISO 7064 MOD 97-10).

    >>> has_iban_sum("GB82WEST12345698765432"), has_iban_sum("GB83WEST12345698765432")
    (True, False)
    """
    return int("".join(str(int(each, 36)) for each in iban[4:] + iban[:4])) % 97 == 1


def ibans(text: str) -> Iterator[Span]:
    """Find IBANs: as long as those of their country, with right check digits; spaces may stand in them.

    >>> [text[a:b] for text in ["pay to DE89 3704 0044 0532 0130 00 today"] for a, b in ibans(text)]
    ['DE89 3704 0044 0532 0130 00']
    """
    for match in _IBAN_BEGINS.finditer(text):
        length = _IBAN_LENGTHS.get(match[0][:2].upper())
        end = None if length is None else _end_of(text, match.start(), length)
        if end is not None and has_iban_sum(text[match.start() : end].replace(" ", "")):
            yield match.start(), end


def _end_of(text: str, start: int, length: int) -> int | None:
    """Give where `length` letters and digits end that begin at `start`, single spaces left out; None where they do not."""
    end, count = start, 0
    while count < length:
        if end < len(text) and text[end] == " " and text[end - 1] != " ":
            end += 1
        if end >= len(text) or not (text[end].isascii() and text[end].isalnum()):
            return None
        end, count = end + 1, count + 1
    follows = text[end : end + 1]
    return None if follows.isascii() and follows.isalnum() else end


def social_security_numbers(text: str) -> Iterator[Span]:
    """Find social security numbers of the USA, written with hyphens; those that are never given out are none.

    >>> [text[a:b] for text in ["123-45-6789, 666-45-6789, 123-00-6789"] for a, b in social_security_numbers(text)]
    ['123-45-6789']
    """
    return (match.span() for match in _SSN.finditer(text))


def phone_numbers(text: str) -> Iterator[Span]:
    """Find phone numbers: with a country code, in the groups of North America, or with a leading 0 and groups.

    Ten digits without a mark are no phone number, and neither are fewer than ten together after a plus: they may be anything.

    >>> text = "+49 30 1234567, (212) 555-0123, 020 7946 0958; 12 + 3456 = 3468, 5550123456"
    >>> [text[a:b] for a, b in phone_numbers(text)]
    ['+49 30 1234567', '(212) 555-0123', '020 7946 0958']
    """
    for match in _INTERNATIONAL.finditer(text):
        groups = re.findall(r"\d+", match[0])
        before = text[: match.start()].rstrip()[-1:]
        adds = before.isdecimal() or before in {")", "="}
        if len(groups) <= _MOST_GROUPS and (len(groups) > 1 or (len(groups[0]) >= _FEWEST_TOGETHER and not adds)):
            yield match.span()
    for pattern in (_AMERICAN, _TRUNK):
        yield from (match.span() for match in pattern.finditer(text))


PERSONAL_DATA: Mapping[str, Find] = MappingProxyType(
    {
        "iban": ibans,
        "payment_card": payment_cards,
        "ssn": social_security_numbers,
        "email": emails,
        "phone": phone_numbers,
    }
)
"""What finds personal data, by kind. Where two find the same place, the first named counts."""
