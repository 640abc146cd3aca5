"""Numbers and durations as a person reads them."""

import math

_MILLISECOND, _MINUTE, _HOUR, _DAY = 1e-3, 60, 3600, 86400


def number(value: float) -> str:
    """Write a number in four digits.

    >>> [number(value) for value in (0.5, 1234567.0, 0.00012345, 12.3456, -3.0, 71.0, 20000.0)]
    ['0.5', '1.235e6', '1.234e-4', '12.35', '-3', '71', '20,000']
    >>> [number(value) for value in (float("nan"), float("inf"), -math.inf, 0.0)]
    ['NaN', '∞', '-∞', '0']
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        digits, _, power = f"{value:.3e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}" if size >= 1000 else f"{value:.0f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    r"""Write how long something took.

    >>> [duration(seconds) for seconds in (0.25, 43.21, 312, 7384, 200_000)]
    ['250 ms', '43.2 s', '5 min 12 s', '2 h 3 min', '2 d 7 h']
    >>> duration(0.00042) == "420 \u00b5s"
    True
    """
    if seconds < _MILLISECOND:
        return f"{seconds * 1e6:.3g} \u00b5s" if seconds else "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    for unit, name, below, lower in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name} {seconds % unit // below:.0f} {lower}"
    return f"{seconds:.0f} s"
