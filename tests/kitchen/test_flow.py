"""Loops, conditionals, parallel branches, streams and zooms: what runs, on what, and what is undone."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Never, TypeAlias

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Proceed,
    Result,
    Success,
    TimedOut,
    fail,
    located,
    perform,
    pure,
    show_path,
    timeout,
)
from crucible.kitchen import (
    Context,
    Iteration,
    Recipe,
    checked,
    conditional,
    execute,
    loop,
    parallel,
    pure_stage,
    stage,
    stream_loop,
    zoom,
)
from tests.kitchen.fakes import (
    Burnt,
    Cook,
    Cooking,
    Meal,
    Plate,
    Stores,
    Stove,
    Traced,
    at_path,
    call_number,
    cooking,
    fails_with,
    in_a_row,
    meddling,
    raises,
    recording,
    run_and_cancel,
    start,
    ticking,
    waits_for_ever,
)

soup, fish, cake = cooking("soup"), cooking("fish"), cooking("cake")


@pure_stage
def enter(context: Context[Iteration[Meal, int]]) -> Plate:
    """Take the state of a pass, and leave its item."""
    return context.to(context.state.state)


def times(number: int) -> range:
    return range(number)


def serve(number: int, part: Cooking, *, name: str = "courses") -> Cooking:
    """Run a stage so many times."""

    def over(meal: Meal) -> Sequence[int]:
        return times(number)

    return loop(name, over, enter >> part)


def stream(number: int, part: Cooking, *, buffer: int = 1) -> Cooking:
    """Run a stage for so many things that a producer makes."""

    def produce(meal: Meal, index: int) -> Eff[int | None, Never, Never]:
        return pure(index if index < number else None)

    return stream_loop("orders", produce, enter >> part, buffer=buffer)


def on_one_table(before: Meal, meals: Sequence[Meal]) -> Meal:
    """Merge: what was there before, then what each branch added."""
    return Meal(dishes=(*before.dishes, *(dish for meal in meals for dish in meal.dishes[len(before.dishes) :])))


def nothing_yet(meal: Meal) -> Meal:
    return Meal()


def beside(before: Meal, after: Meal) -> Meal:
    return Meal(dishes=(*before.dishes, *after.dishes))


def stove() -> tuple[Stove, Handlers[Cook]]:
    made = Stove()
    return made, Cook.handled_by(made)


# Any workflow at all


@attrs.frozen
class Leaf:
    undone: bool


@attrs.frozen
class Row:
    parts: "tuple[Tree, ...]"


@attrs.frozen
class Around:
    kind: str
    part: "Tree"
    number: int


Tree: TypeAlias = Leaf | Row | Around

KINDS = ("loop", "stream", "if", "else", "parallel", "one at a time", "zoom", "named")
trees: st.SearchStrategy[Tree] = st.recursive(
    st.builds(Leaf, st.booleans()),
    lambda inner: st.one_of(
        st.builds(Row, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Around, st.sampled_from(KINDS), inner, st.integers(0, 3)),
    ),
    max_leaves=5,
)


def built(tree: Tree, leaves: Iterator[int], *, limit: int | None = None) -> Cooking:
    """Make the workflow of a tree; a dish whose stage has a rollback begins with `u`."""
    match tree:
        case Leaf():
            return cooking(f"{'u' if tree.undone else 'd'}{next(leaves)}", rollback=tree.undone)
        case Row():
            return in_a_row([built(part, leaves, limit=limit) for part in tree.parts])
        case Around():
            return around(tree, built(tree.part, leaves, limit=limit), limit)


def around(tree: Around, part: Cooking, limit: int | None) -> Cooking:
    """Put a construct around a part."""

    def holds(meal: Meal) -> bool:
        return tree.kind == "if"

    match tree.kind:
        case "loop":
            return serve(tree.number, part)
        case "stream":
            return stream(tree.number, part, buffer=tree.number + 1)
        case "if" | "else":
            other = cooking("u-other") if tree.number else None
            return conditional(holds, part, other)
        case "parallel" | "one at a time":
            limited = 1 if tree.kind == "one at a time" else limit
            return parallel("hands", [part] * max(tree.number, 1), on_one_table, limit=limited)
        case "zoom":
            return zoom(nothing_yet, beside, part)
        case _:
            return part.named(f"named-{tree.number}")


def numbers() -> Iterator[int]:
    return iter(range(1_000))


def calls_of(workflow: Cooking) -> list[Traced]:
    return recording(stove()[1], workflow(start()))[1]


def made_by(calls: Sequence[Traced]) -> list[str]:
    return [call.path for call in calls if call.name == "Cook.make"]


@given(trees)
def test_any_workflow_does_the_same_each_time_and_leaves_its_context_alone(tree: Tree) -> None:
    workflow, begin = built(tree, numbers()), start()
    first, again = (recording(stove()[1], workflow(begin)) for _ in range(2))
    assert first == again
    assert begin == start()
    paths = made_by(first[1])
    assert len(set(paths)) == len(paths)
    made = first[0].unwrap().state.dishes
    assert sorted(dish.number for dish in made) == list(range(1, len(paths) + 1))


@settings(max_examples=150)
@given(trees, st.data(), st.sampled_from(["failure", "exception", "cancellation"]), st.booleans())
def test_wherever_it_fails_what_completed_is_undone_once_and_nothing_after_it_runs(
    tree: Tree, data: st.DataObject, how: str, one_by_one: bool
) -> None:
    workflow = built(tree, numbers(), limit=1 if one_by_one else None)
    paths = made_by(calls_of(workflow))
    if not paths:
        return
    path = data.draw(st.sampled_from(paths), label="path")
    kitchen, handlers = stove()
    place = path.rpartition("/")[0]
    if how == "failure":
        failed = (
            meddling(handlers, at_path(path), fails_with(Burnt(dish="it"))).run(located(workflow(start()))).failure()
        )
        assert (show_path(failed.path), failed.error) == (place, Burnt(dish="it"))
    elif how == "exception":
        with pytest.raises(OSError, match="gas") as raised:
            meddling(handlers, at_path(path), raises(OSError("gas"))).run(workflow(start()))
        assert f"in crucible path {place}" in raised.value.__notes__
    else:
        anyio.run(run_and_cancel, handlers, at_path(path), workflow(start()))
    completed = [number for number, dish in enumerate(kitchen.made, start=1) if dish.startswith("u")]
    assert sorted(kitchen.taken_back) == completed
    if one_by_one:
        assert kitchen.taken_back == completed[::-1]
        assert len(kitchen.made) == paths.index(path)


@given(trees, st.data(), st.booleans())
def test_every_event_told_before_a_failure_is_in_the_store(tree: Tree, data: st.DataObject, raised: bool) -> None:
    workflow = built(tree, numbers())
    paths = made_by(calls_of(workflow))
    path = data.draw(st.sampled_from(paths), label="path") if paths else "none"
    heard: list[object] = []
    stores, answer = Stores(), raises(OSError("gas")) if raised else fails_with(Burnt(dish="it"))
    handlers = meddling(stove()[1], at_path(path), answer) | stores.handlers()
    recipe = Recipe(name="meal", description="", workflow=workflow, default_config=Meal())
    work = execute(recipe, run_id="evening", clock=ticking(), on_event=heard.append)
    if raised and paths:
        with pytest.raises(OSError, match="gas"):
            handlers.run(work)
    else:
        assert isinstance(handlers.run(work), Failure if paths else Success)
    assert stores.names("evening") == [getattr(event, "NAME", "") for event in heard]


# Loops


@given(st.lists(st.integers(), max_size=8))
def test_a_loop_takes_each_item_once_in_order_and_the_state_accumulates(items: list[int]) -> None:
    def over(seen: tuple[int, ...]) -> Sequence[int]:
        assert seen == ()
        return items

    @pure_stage
    def see(context: Context[Iteration[tuple[int, ...], int]]) -> Context[tuple[int, ...]]:
        it = context.state
        assert it.index == len(it.state)
        return context.to((*it.state, it.item))

    seen: Context[tuple[int, ...]] = Context.start(())
    assert Handlers.none().run(loop("items", over, see)(seen)) == Success(Context.start(tuple(items)))


def test_a_loop_over_nothing_makes_no_pass_and_tells_nothing() -> None:
    assert recording(stove()[1], serve(0, soup)(start())) == (Success(start()), [])


def test_each_pass_of_a_loop_has_a_path_of_its_own_by_its_index() -> None:
    inner = serve(2, soup, name="bowls")
    assert made_by(calls_of(serve(2, inner >> fish))) == [
        "courses[0]/bowls[0]/soup/#1",
        "courses[0]/bowls[1]/soup/#1",
        "courses[0]/fish/#1",
        "courses[1]/bowls[0]/soup/#1",
        "courses[1]/bowls[1]/soup/#1",
        "courses[1]/fish/#1",
    ]


def test_a_loop_asks_once_what_to_go_over_and_may_be_given_a_generator() -> None:
    asked = []

    def over(meal: Meal) -> Iterator[int]:
        asked.append(meal)
        yield from range(3)

    workflow = loop("courses", over, enter >> soup)
    assert stove()[1].run(workflow(start())).unwrap().state.names() == ("soup",) * 3
    assert asked == [Meal()]


def test_what_fails_in_choosing_the_items_is_a_defect_with_its_path() -> None:
    def over(meal: Meal) -> Sequence[int]:
        raise ZeroDivisionError

    kitchen, handlers = stove()
    workflow = (soup >> loop("courses", over, enter >> fish)).named("lunch")
    with pytest.raises(ZeroDivisionError) as raised:
        handlers.run(workflow(start()))
    assert raised.value.__notes__ == ["in crucible path lunch"]
    assert kitchen.taken_back == [1]


# Conditionals


def is_hungry(meal: Meal) -> bool:
    return not meal.dishes


def wants_more(meal: Meal) -> bool:
    return len(meal.dishes) < 2


@pytest.mark.parametrize(
    ("workflow", "eaten"),
    [
        (conditional(is_hungry, soup), ("soup",)),
        (fish >> conditional(is_hungry, soup), ("fish",)),
        (conditional(is_hungry, soup, cake), ("soup",)),
        (fish >> conditional(is_hungry, soup, cake), ("fish", "cake")),
        (conditional(is_hungry, soup >> conditional(wants_more, fish, cake)), ("soup", "fish")),
        (fish >> fish >> conditional(is_hungry, soup, conditional(wants_more, soup, cake)), ("fish", "fish", "cake")),
    ],
)
def test_a_conditional_runs_the_branch_that_its_predicate_chooses(workflow: Cooking, eaten: tuple[str, ...]) -> None:
    assert stove()[1].run(workflow(start())).unwrap().state.names() == eaten


def test_a_conditional_takes_any_callable_as_its_predicate() -> None:
    def more_than(number: int, meal: Meal) -> bool:
        return len(meal.dishes) > number

    workflow = conditional(partial(more_than, 3), soup)
    assert workflow.outline.name == "if more_than"
    assert stove()[1].run(workflow(start())) == Success(start())


# Parallel branches


@attrs.define
class Barrier(Cook):
    """A cook that finishes a dish only when so many are on the fire at once."""

    wanted: int
    most: int = 0
    now: int = 0
    together: anyio.Event = attrs.field(factory=anyio.Event)

    async def make(self, dish: str) -> Result[int, Burnt]:
        """Wait for the others."""
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == self.wanted:
            self.together.set()
        await self.together.wait()
        self.now -= 1
        return Success(self.most)

    async def take_back(self, number: int) -> Result[None, Burnt]:
        """Forget it."""
        return Success(None)


@pytest.mark.anyio
async def test_parallel_branches_really_run_at_once() -> None:
    workflow = parallel("hands", [soup, fish, cake], on_one_table)
    with anyio.fail_after(5):
        result = await Cook.handled_by(Barrier(wanted=3)).arun(workflow(start()))
    assert result.unwrap().state.names() == ("soup", "fish", "cake")


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [1, 2, 3, 9])
async def test_no_more_branches_run_at_once_than_the_limit(limit: int) -> None:
    cook = Barrier(wanted=min(limit, 5))
    workflow = parallel("hands", [soup] * 5, on_one_table, limit=limit)
    with anyio.fail_after(5):
        await Cook.handled_by(cook).arun(workflow(start()))
    assert cook.most == min(limit, 5)


@pytest.mark.anyio
async def test_a_branch_alone_at_a_barrier_waits_for_ever() -> None:
    workflow = parallel("hands", [soup, fish], on_one_table, limit=1)
    result = await Cook.handled_by(Barrier(wanted=2)).arun(timeout(workflow(start()), seconds=0.02))
    assert result == Failure(TimedOut(seconds=0.02))


@pytest.mark.anyio
async def test_what_is_merged_is_in_the_order_of_the_branches_however_they_end() -> None:
    kitchen, handlers = stove()
    ready = anyio.Event()

    async def wait_for_the_cake(call: Call, proceed: Proceed) -> Result[object, object]:
        await ready.wait()
        return await proceed(call)

    async def make_the_cake(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        ready.set()
        return result

    handlers = meddling(handlers, lambda call: call.arguments == ("soup",), wait_for_the_cake)
    handlers = meddling(handlers, lambda call: call.arguments == ("cake",), make_the_cake)
    result = await handlers.arun(parallel("hands", [soup, cake], on_one_table)(start()))
    assert kitchen.made == ["cake", "soup"]
    assert result.unwrap().state.names() == ("soup", "cake")


@pytest.mark.anyio
async def test_the_first_branch_that_fails_cancels_the_others_and_all_are_rolled_back() -> None:
    kitchen, handlers = stove()

    def second(call: Call) -> bool:
        return call.operation.__name__ == "make" and "hands" in call.path and call.arguments == ("fish",)

    def third(call: Call) -> bool:
        return call.arguments == ("cake",)

    handlers = meddling(handlers, third, waits_for_ever)
    handlers = meddling(handlers, second, fails_with(Burnt(dish="fish")))
    workflow = cooking("bread") >> parallel("hands", [soup >> cake, soup >> soup >> fish], on_one_table)
    failed = (await handlers.arun(located(workflow(start())))).failure()
    assert (show_path(failed.path), failed.error) == ("hands/gather/[1]/fish", Burnt(dish="fish"))
    assert kitchen.made == ["bread", "soup", "soup", "soup"]
    assert sorted(kitchen.taken_back) == [1, 2, 3, 4]
    assert kitchen.taken_back[-1] == 1


def test_no_branch_at_all_merges_nothing() -> None:
    branches: list[Cooking] = []
    assert stove()[1].run(parallel("hands", branches, on_one_table)(start())) == Success(start())


def test_a_branch_may_be_of_another_state_than_what_it_began_with() -> None:
    @pure_stage
    def count(plate: Plate) -> Context[int]:
        return plate.to(len(plate.state.dishes))

    def total(meal: Meal, counts: Sequence[int]) -> int:
        return sum(counts)

    workflow = soup >> parallel("counting", [count, soup >> count], total)
    assert stove()[1].run(workflow(start())).unwrap().state == 1 + 2


# Streams


def test_a_stream_gives_each_item_once_in_order_and_the_state_accumulates() -> None:
    workflow = stream(3, soup, buffer=2)
    meal, calls = recording(stove()[1], workflow(start()))
    assert meal.unwrap().state.names() == ("soup",) * 3
    assert made_by(calls) == [f"orders/stream/[{index}]/soup/#1" for index in range(3)]


def test_an_empty_stream_changes_nothing() -> None:
    assert stove()[1].run(stream(0, soup)(start())) == Success(start())


@pytest.mark.parametrize("buffer", [1, 2, 5])
def test_a_producer_is_never_further_ahead_than_its_buffer(buffer: int) -> None:
    made, eaten, ahead = 0, 0, []

    def produce(meal: Meal, index: int) -> Eff[int | None, Never, Never]:
        nonlocal made
        made += index < 9
        ahead.append(made - eaten)
        return pure(index if index < 9 else None)

    @stage
    def eat(plate: Plate) -> Do[Burnt, Cook, Plate]:
        nonlocal eaten
        for _ in range(5):
            yield from perform(Cook.make, "bite")
        eaten += 1
        return plate

    workflow = stream_loop("orders", produce, enter >> eat, buffer=buffer)
    stove()[1].run(workflow(start())).unwrap()
    assert eaten == 9
    assert max(ahead) == buffer + 1


def test_a_producer_sees_the_newest_state_and_not_only_the_first() -> None:
    seen = []

    def produce(meal: Meal, index: int) -> Eff[int | None, Burnt, Cook]:
        seen.append(len(meal.dishes))
        return perform(Cook.make, "order").map(lambda _: index if index < 6 else None)

    stove()[1].run(stream_loop("orders", produce, enter >> soup, buffer=1)(start())).unwrap()
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] >= 4


def test_a_producer_that_fails_stops_the_stream_and_what_was_eaten_is_rolled_back() -> None:
    def produce(meal: Meal, index: int) -> Eff[int, str, Never]:
        return fail("no more orders") if len(meal.dishes) == 2 else pure(index)

    kitchen, handlers = stove()
    failed = handlers.run(located(stream_loop("orders", produce, enter >> soup, buffer=1)(start()))).failure()
    assert failed.error == "no more orders"
    assert show_path(failed.path).startswith("orders/stream/produce[")
    assert kitchen.taken_back == list(range(len(kitchen.made), 0, -1))


def test_how_far_ahead_a_stream_is_can_be_read_off_its_first_state() -> None:
    ahead, eaten = [], 0

    def produce(meal: Meal, index: int) -> Eff[int | None, Never, Never]:
        ahead.append(index - eaten)
        return pure(index if index < 9 else None)

    @stage
    def eat(plate: Plate) -> Do[Burnt, Cook, Plate]:
        nonlocal eaten
        for _ in range(5):
            yield from perform(Cook.make, "bite")
        eaten += 1
        return plate

    workflow = stream_loop("orders", produce, enter >> eat, buffer=lambda meal: 2 + len(meal.dishes))
    stove()[1].run(workflow(start())).unwrap()
    assert max(ahead) == 2


def test_a_stream_without_a_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match="a buffer of at least 1"):
        stove()[1].run(stream(1, soup, buffer=0)(start()))


def test_the_ports_of_a_producer_are_among_those_of_its_stream() -> None:
    def produce(meal: Meal, index: int) -> Eff[int | None, Burnt, Cook]:
        return perform(Cook.make, "order")

    @pure_stage
    def eat(context: Context[Iteration[Meal, int]]) -> Plate:
        return context.to(context.state.state)

    assert stream_loop("orders", produce, eat).outline.all_ports() == {Cook}


# Zooms


@attrs.frozen(kw_only=True)
class Party:
    """A meal and who eats it."""

    guests: int
    meal: Meal


def meal_of(party: Party) -> Meal:
    return party.meal


def with_meal(party: Party, meal: Meal) -> Party:
    return attrs.evolve(party, meal=meal)


guests = st.integers(0, 9)


@given(guests)
def test_a_zoom_leaves_what_it_does_not_look_at(number: int) -> None:
    party = Context.start(Party(guests=number, meal=Meal()))
    result = stove()[1].run(zoom(meal_of, with_meal, soup >> fish)(party)).unwrap()
    assert result.state.guests == number
    assert result.state.meal == stove()[1].run((soup >> fish)(start())).unwrap().state
    assert party.state.meal == Meal()


@given(guests)
def test_zooming_on_two_stages_is_zooming_on_each(number: int) -> None:
    party = Context.start(Party(guests=number, meal=Meal()))
    together = zoom(meal_of, with_meal, soup >> fish)
    apart = zoom(meal_of, with_meal, soup) >> zoom(meal_of, with_meal, fish)
    assert recording(stove()[1], together(party)) == recording(stove()[1], apart(party))
    assert together.show() == apart.show()


def test_zooming_on_everything_is_the_stage_itself() -> None:
    def everything(meal: Meal) -> Meal:
        return meal

    def instead(meal: Meal, after: Meal) -> Meal:
        return after

    whole = zoom(everything, instead, soup >> fish)
    assert recording(stove()[1], whole(start())) == recording(stove()[1], (soup >> fish)(start()))


def test_a_zoom_in_a_zoom_is_one_zoom_further() -> None:
    def party_of(parties: tuple[Party, ...]) -> Party:
        return parties[0]

    def with_party(parties: tuple[Party, ...], party: Party) -> tuple[Party, ...]:
        return (party, *parties[1:])

    def first_meal(parties: tuple[Party, ...]) -> Meal:
        return parties[0].meal

    def with_first_meal(parties: tuple[Party, ...], meal: Meal) -> tuple[Party, ...]:
        return with_party(parties, with_meal(parties[0], meal))

    parties = Context.start((Party(guests=1, meal=Meal()), Party(guests=2, meal=Meal())))
    twice = zoom(party_of, with_party, zoom(meal_of, with_meal, soup))
    once = zoom(first_meal, with_first_meal, soup)
    assert recording(stove()[1], twice(parties)) == recording(stove()[1], once(parties))


def test_a_failure_inside_a_zoom_rolls_back_both_sides_of_it() -> None:
    kitchen, handlers = stove()
    handlers = meddling(handlers, call_number("Cook.make", 3), fails_with(Burnt(dish="cake")))
    party = Context.start(Party(guests=1, meal=Meal()))
    workflow = zoom(meal_of, with_meal, soup >> fish) >> zoom(meal_of, with_meal, cake)
    assert handlers.run(workflow(party)) == Failure(Burnt(dish="cake"))
    assert kitchen.taken_back == [2, 1]


# Checks of what a part did


def test_a_checked_part_is_that_part_where_nothing_is_amiss() -> None:
    def always(before: Meal, after: Meal) -> Result[None, Burnt]:
        return Success(None)

    part = checked(soup >> fish, always)
    assert recording(stove()[1], part(start())) == recording(stove()[1], (soup >> fish)(start()))
    assert part.show() == (soup >> fish).show()


def test_a_part_that_did_too_little_fails_and_is_undone() -> None:
    def enough(before: Meal, after: Meal) -> Result[None, Burnt]:
        new = len(after.dishes) - len(before.dishes)
        return Success(None) if new > 1 else Failure(Burnt(dish=f"{new} dishes"))

    cook, handlers = stove()
    assert handlers.run((soup >> checked(fish, enough))(start())).failure() == Burnt(dish="1 dishes")
    assert cook.taken_back == [2, 1]
    assert isinstance(handlers.run(checked(soup >> fish, enough)(start())), Success)
