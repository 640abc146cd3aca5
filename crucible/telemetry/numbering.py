"""How the sequence numbers of a run are shared out: between processes that write it, and between what each of them tells."""

NUMBERS_OF_A_WRITER = 2**40
"""How many sequence numbers a process that writes a run has for itself."""

PROBLEMS_FROM = 2**39
"""Where the numbers of problems begin among those of a writer: what a resumed run repeats has the numbers it had, with problems or
without."""

SINK_PROBLEMS_FROM = 2**39 + 2**38
"""Where those of the problems of sinks begin, which no writer knows of."""


def first_for_sink_problems(number: int) -> int:
    """Give the first number for problems of sinks in the process that has a number.

    >>> first_for_sink_problems(2 * NUMBERS_OF_A_WRITER + 5) - 2 * NUMBERS_OF_A_WRITER == SINK_PROBLEMS_FROM
    True
    """
    return number - number % NUMBERS_OF_A_WRITER + SINK_PROBLEMS_FROM
