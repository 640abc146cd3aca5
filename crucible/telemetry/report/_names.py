"""Names of runs for where there is little room."""

from collections.abc import Sequence
from itertools import takewhile


def short_names(run_ids: Sequence[str]) -> tuple[str, ...]:
    """Cut what long ids have in common at their beginning, and then their middle: what is left tells them apart.

    >>> short_names(["talk_run_20261125_221719_51ec", "talk_run_20261125_221723_3b66"])
    ('…221719_51ec', '…221723_3b66')
    >>> short_names(["teaching_run_20261125_221719_51ec2507", "night"])
    ('teaching…19_51ec2507', 'night')
    >>> short_names(["night"])
    ('night',)
    """
    if max(map(len, run_ids), default=0) <= _LONGEST:
        return tuple(run_ids)
    columns = zip(*run_ids, strict=False) if len(run_ids) > 1 else ()
    shared = "".join(letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, columns))
    cut = max(shared.rfind(sign) for sign in _SIGNS) + 1
    rests = [f"…{run_id[cut:]}" if cut > _WORTH_CUTTING and run_id[cut:] else run_id for run_id in run_ids]
    short = tuple(rest if len(rest) <= _LONGEST else f"{rest[:_HEAD]}…{rest[-_TAIL:]}" for rest in rests)
    return short if len(set(short)) == len(set(run_ids)) else tuple(run_ids)


_SIGNS = "_-./ "
_WORTH_CUTTING = 3
_LONGEST, _HEAD, _TAIL = 24, 8, 11
