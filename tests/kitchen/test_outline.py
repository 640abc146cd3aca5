"""What a workflow looks like as text and as a diagram, and which ports it says it needs."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Never, Optional, TypeVar, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Do, Eff, Port, perform, pure
from crucible.kitchen import Context, Iteration, Outline, conditional, loop, parallel, pure_stage, stream_loop, zoom
from crucible.kitchen.outline import name_of, ports_of, ports_within
from crucible.kitchen.workflows import supervised
from tests.kitchen.fakes import Burnt, Cook, Cooking, Meal, Plate, Waiter, cooking

soup, fish, cake = cooking("soup"), cooking("fish"), cooking("cake")


@pure_stage
def enter(context: Context[Iteration[Meal, int]]) -> Plate:
    """Begin a pass."""
    return context.to(context.state.state)


def is_hungry(meal: Meal) -> bool:
    return True


def orders(meal: Meal, index: int) -> Eff[int | None, Burnt, Waiter]:
    return perform(Waiter.carry, index)


def over(meal: Meal) -> Sequence[int]:
    return (1, 2)


def keep(before: Meal, meals: Sequence[Meal]) -> Meal:
    return before


def itself(meal: Meal) -> Meal:
    return meal


def instead(before: Meal, after: Meal) -> Meal:
    return after


everything = (
    soup
    >> loop("courses", over, enter >> fish >> conditional(is_hungry, cake))
    >> conditional(is_hungry, soup >> fish, cake)
    >> parallel("hands", [soup >> fish, cake], keep)
    >> stream_loop("orders", orders, enter >> cake)
    >> zoom(itself, instead, (soup >> fish).named("inner"))
).named("dinner", doc="Eat all evening.")

SHOWN = """\
workflow dinner  Eat all evening.
  soup  [Cook]
  loop courses
    enter  Begin a pass.
    fish  [Cook]
    if is_hungry
      cake  [Cook]
  if is_hungry
    then
      soup  [Cook]
      fish  [Cook]
    else
      cake  [Cook]
  parallel hands
    soup  [Cook]
    fish  [Cook]
    cake  [Cook]
  stream loop orders  [Waiter]
    enter  Begin a pass.
    cake  [Cook]
  workflow inner
    soup  [Cook]
    fish  [Cook]"""

DRAWN = """\
flowchart TD
  subgraph n1["dinner"]
    n2["soup<br/><i>Cook</i>"]
    subgraph n3["loop: courses"]
      n4["enter"]
      n5["fish<br/><i>Cook</i>"]
      subgraph n6["if is_hungry"]
        n7["cake<br/><i>Cook</i>"]
      end
      n4 --> n5
      n5 --> n6
      n6 -.-> n4
    end
    subgraph n8["if is_hungry"]
      subgraph n9["then"]
        n10["soup<br/><i>Cook</i>"]
        n11["fish<br/><i>Cook</i>"]
        n10 --> n11
      end
      subgraph n12["else"]
        n13["cake<br/><i>Cook</i>"]
      end
    end
    subgraph n14["parallel: hands"]
      n15["soup<br/><i>Cook</i>"]
      n16["fish<br/><i>Cook</i>"]
      n15 --> n16
      n17["cake<br/><i>Cook</i>"]
    end
    subgraph n18["stream loop: orders<br/><i>Waiter</i>"]
      n19["enter"]
      n20["cake<br/><i>Cook</i>"]
      n19 --> n20
      n20 -.-> n19
    end
    subgraph n21["inner"]
      n22["soup<br/><i>Cook</i>"]
      n23["fish<br/><i>Cook</i>"]
      n22 --> n23
    end
    n2 --> n3
    n3 --> n8
    n8 --> n14
    n14 --> n18
    n18 --> n21
  end"""


def test_a_workflow_with_every_construct_as_text() -> None:
    assert everything.show() == SHOWN


def test_a_workflow_with_every_construct_as_a_diagram() -> None:
    assert everything.mermaid() == DRAWN


NODE = re.compile(r'^(?:subgraph )?(n\d+)\["([^"]*)"\]$')
EDGE = re.compile(r"^(n\d+) (?:-->|-\.->) (n\d+)$")


def problems_in(diagram: str) -> list[str]:
    """Read a flowchart as we write them; give what is wrong with it."""
    header, *lines = diagram.splitlines()
    found = [] if header == "flowchart TD" else ["no header"]
    declared, used, depth = [], set[str](), 0
    for line in map(str.strip, lines):
        node, edge = NODE.match(line), EDGE.match(line)
        depth += line.startswith("subgraph ")
        depth -= line == "end"
        if depth < 0:
            found.append("an `end` of nothing")
        if node:
            declared.append(node[1])
            if re.search(r"[<>&#]", re.sub(r"<br/><i>\w+</i>|#\d+;", "", node[2])):
                found.append(f"markup in {line}")
        elif edge:
            used |= {edge[1], edge[2]}
        elif line != "end":
            found.append(f"cannot read {line}")
    found += [f"{name} is not declared" for name in sorted(used - set(declared))]
    found += [f"{name} is declared twice" for name in set(declared) if declared.count(name) > 1]
    return found + (["a box is not closed"] if depth else [])


KINDS = ("workflow", "loop", "conditional", "parallel", "stream loop", "branch", "sequence")
names = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6)
outlines: st.SearchStrategy[Outline] = st.recursive(
    st.builds(Outline, kind=st.just("stage"), name=names, ports=st.sampled_from([frozenset(), frozenset({Cook})])),
    lambda inner: st.builds(
        Outline, kind=st.sampled_from(KINDS), name=names, parts=st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


@given(outlines)
def test_any_diagram_declares_what_it_uses_and_closes_its_boxes(outline: Outline) -> None:
    assert problems_in(outline.mermaid()) == []


def test_the_check_of_diagrams_finds_what_is_wrong() -> None:
    assert problems_in(DRAWN) == []
    assert problems_in(DRAWN.removesuffix("\n  end")) == ["a box is not closed"]
    assert problems_in(DRAWN + "\nend") == ["an `end` of nothing", "a box is not closed"]
    assert problems_in(DRAWN.replace('n2["soup', 'n99["soup')) == ["n2 is not declared"]
    assert problems_in(DRAWN.replace('n2["soup', 'n2["<b>soup')) == ['markup in n2["<b>soup<br/><i>Cook</i>"]']
    assert problems_in(supervised.mermaid()) == []


def test_a_name_is_never_markup_in_a_diagram() -> None:
    drawn = conditional(lambda meal: not meal.dishes, cooking('so "hot" & <wet> #1')).mermaid()
    assert '["if #60;lambda#62;"]' in drawn
    assert '["so #34;hot#34; #38; #60;wet#62; #35;1<br/><i>Cook</i>"]' in drawn


def test_no_branch_at_all_is_drawn_as_a_box() -> None:
    branches: list[Cooking] = []
    assert parallel("hands", branches, keep).mermaid() == 'flowchart TD\n  n1["hands"]'
    assert parallel("hands", branches, keep).show() == "parallel hands"


def test_walking_goes_in_the_order_in_which_stages_run() -> None:
    leaves = [outline.name for outline in everything.outline.walk() if outline.kind == "stage"]
    assert leaves == [
        line.strip().split("  ")[0] for line in SHOWN.splitlines() if re.match(r"^ *(soup|fish|cake|enter)", line)
    ]
    assert everything.outline.all_ports() == {Cook, Waiter}


# Ports, read from annotations

T = TypeVar("T", bound=Port)


def none_at_all() -> Do[Burnt, Never, int]:
    return (yield from pure(1))


def one() -> Do[Burnt, Cook, int]:
    return (yield from perform(Cook.make, "soup"))


def two() -> Do[Burnt, Cook | Waiter, int]:
    return (yield from perform(Cook.make, "soup"))


def two_as_before() -> Do[Burnt, Union[Cook, Waiter], int]:  # noqa: UP007  # the older way of writing it
    return (yield from perform(Cook.make, "soup"))


def as_a_computation() -> Eff[int, Burnt, Cook | Waiter]:
    return perform(Cook.make, "soup")


def as_text() -> "Do[Burnt, Cook, int]":
    return (yield from perform(Cook.make, "soup"))


def unknown() -> "Do[Burnt, Kettle, int]":  # type: ignore[name-defined]  # noqa: F821  # what is tested
    raise NotImplementedError


def unknown_in_a_module() -> "Do[Burnt, re.Kettle, int]":  # type: ignore[name-defined]  # what is tested
    raise NotImplementedError


def is_no_python() -> "Do[Burnt, ":  # type: ignore[valid-type]  # noqa: F722  # what is tested
    raise NotImplementedError


def of_any_port() -> Do[Burnt, T, int]:
    raise NotImplementedError


def of_one_and_any_port() -> Do[Burnt, Cook | T, int]:
    raise NotImplementedError


def plain() -> int:
    return 1


def silent():  # type: ignore[no-untyped-def]  # what is tested
    return 1


def maybe() -> Optional[Do[Burnt, Cook, int]]:  # noqa: UP045  # what is tested
    return None


@pytest.mark.parametrize(
    ("function", "ports"),
    [
        (none_at_all, set()),
        (one, {Cook}),
        (two, {Cook, Waiter}),
        (two_as_before, {Cook, Waiter}),
        (as_a_computation, {Cook, Waiter}),
        (as_text, {Cook}),
        (unknown, set()),
        (unknown_in_a_module, set()),
        (is_no_python, set()),
        (of_any_port, set()),
        (of_one_and_any_port, {Cook}),
        (plain, set()),
        (silent, set()),
        (maybe, set()),
        (len, set()),
        (partial(one), {Cook}),
        (partial(partial(one)), {Cook}),
        (lambda: None, set()),
    ],
    ids=lambda it: name_of(it) if callable(it) else "",
)
def test_ports_are_read_from_the_return_annotation(function: Callable[..., object], ports: set[type[Port]]) -> None:
    assert ports_of(function) == ports


def test_ports_are_read_from_methods_and_from_objects_that_are_called() -> None:
    class Kitchen:
        def __call__(self) -> Eff[int, Burnt, Cook]:
            return perform(Cook.make, "soup")

        def carry(self) -> Eff[None, Burnt, Waiter]:
            return perform(Waiter.carry, 1)

    assert ports_of(Kitchen()) == {Cook}
    assert ports_of(Kitchen().carry) == {Waiter}


def test_ports_inside_of_what_a_function_gives_are_found_too() -> None:
    def problem(row: int) -> Eff[list[Waiter], Burnt, Cook]:
        raise NotImplementedError

    def unknown(row: int) -> "Nowhere": ...  # type: ignore[name-defined]  # noqa: F821  # what is tested

    assert ports_within(problem) == {Waiter, Cook}
    assert ports_within(unknown) == ports_within(lambda row: row) == frozenset()
