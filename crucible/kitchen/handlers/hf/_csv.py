"""What is wrong with a file of comma-separated values. Its readers shift or drop columns where a line has too many or too few."""

import csv
import io
from collections import Counter
from contextlib import closing

from crucible.kitchen.handlers.hf._lines import damaged, no_utf8, opened

_LONGEST_FIELD = 2**31 - 1  # the module's own limit is 131,072 letters


def check_csv(path: str, *, divider: str) -> None:
    """Refuse a file whose lines do not have the columns of its header, and one without a row.

    Raises: Refused, which names the line.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with closing(opened(path)) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        rows = csv.reader(text, delimiter=divider, strict=True)
        try:
            header = next(rows, [])
            twice = [name for name, times in Counter(header).items() if times > 1]
            if twice:
                raise damaged(path, f"the header names {twice[0]!r} twice", "give each column a name of its own")
            num_rows = 0
            for row in rows:
                num_rows += bool(row)
                if row and len(row) != len(header):
                    has = f"line {rows.line_num} has {len(row)} values, and the header names {len(header)}"
                    raise damaged(path, has, "quote values that hold the divider or a line's end")
        except UnicodeDecodeError as error:
            raise no_utf8(path, error) from error
        except csv.Error as error:
            raise damaged(path, f"line {rows.line_num} cannot be read ({error})", "mend it or take it out") from error
        if not num_rows:
            raise damaged(path, "there is no row in it", "write a header and rows below it")
