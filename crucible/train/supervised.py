"""Supervised learning: rows to conversations, conversations to data, and what a batch's loss means."""

from collections.abc import Mapping, Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.fields import Limits, checked, within
from crucible.train.errors import InvalidRequest, SequenceTooLong, TrainError
from crucible.train.renderers import RenderedExample, Renderer, TrainOnWhat
from crucible.train.types import ROLES, Datum, Message, Row, TensorData, message_of

_PAIRS = (("prompt", "completion"), ("instruction", "response"), ("instruction", "output"), ("input", "output"),
          ("question", "answer"))  # fmt: skip
_SHAPES = "messages (a list of role and content), or " + ", ".join(f"{a} + {b}" for a, b in _PAIRS)


def conversation_of(row: Row, *, index: int = 0) -> Result[tuple[Message, ...], TrainError]:
    """Read a row as a conversation: `messages`, or a pair of columns such as `prompt` and `completion`.

    >>> [message.role for message in conversation_of({"prompt": "2+2?", "completion": "4"}).unwrap()]
    ['user', 'assistant']

    Fails: InvalidRequest with the row's index when it has none of the shapes.
    """
    if "messages" in row:
        return _read_messages(row["messages"], index)
    for asked, answered in _PAIRS:
        question, answer = row.get(asked), row.get(answered)
        if isinstance(question, str) and isinstance(answer, str):
            extra = row.get("input") if asked == "instruction" else None
            content = f"{question}\n\n{extra}" if isinstance(extra, str) and extra else question
            return Success((Message(role="user", content=content), Message(role="assistant", content=answer)))
    return Failure(
        InvalidRequest(message=f"the row has columns {sorted(row)}", fix=f"give it {_SHAPES}, all as text", index=index)
    )


def _read_messages(value: object, index: int) -> Result[tuple[Message, ...], TrainError]:
    turns = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    messages: list[Message] = []
    for position, turn in enumerate(turns):
        read = message_of(turn) if isinstance(turn, Mapping) else Failure("it is no mapping")
        if isinstance(read, Failure):
            return _unreadable(f", the first that is wrong being message {position}: {read.failure()}", index)
        messages.append(read.unwrap())
    return Success(tuple(messages)) if messages else _unreadable("", index)


def _unreadable(why: str, index: int) -> Result[tuple[Message, ...], TrainError]:
    fix = f"`messages` must be a list of {{role, content}} with roles {', '.join(ROLES)}, as chat APIs write them"
    return Failure(InvalidRequest(message=f"the row's messages cannot be read{why}", fix=fix, index=index))


def datum_of(example: RenderedExample) -> Datum:
    """Make the datum in which each token predicts the next: N tokens give N-1 positions.

    >>> example = RenderedExample(tokens=(5, 6, 7), weights=(0.0, 0.0, 1.0))
    >>> datum = datum_of(example)
    >>> datum.model_input.tokens, datum.loss_fn_inputs["target_tokens"].data, datum.loss_fn_inputs["weights"].data
    ((5, 6), (6, 7), (0.0, 1.0))
    """
    read = example.first(len(example.tokens) - 1)
    after = slice(1, len(read.tokens) + 1)
    return Datum(
        model_input=read.model_input,
        loss_fn_inputs={
            "target_tokens": TensorData.ints(example.tokens[after]),
            "weights": TensorData.floats(example.weights[after]),
        },
    )


@attrs.frozen(kw_only=True, field_transformer=checked)
class DatumRules:
    """How rows become data. Rows longer than `max_length` tokens are an error, or cut at the end with `truncate`."""

    train_on: TrainOnWhat = TrainOnWhat.LAST_ASSISTANT_MESSAGE
    max_length: int = attrs.field(metadata=within(Limits(at_least=2)))
    truncate: bool = False


def build_datum(row: Row, renderer: Renderer, rules: DatumRules, *, index: int = 0) -> Result[Datum, TrainError]:
    """Make the training datum of a row.

    Fails: InvalidRequest when the row has no known shape, cannot be rendered, or has nothing to train on;
    SequenceTooLong when it is longer than `max_length` and may not be cut. Each names the row's index.
    """
    return (
        conversation_of(row, index=index)
        .bind(
            lambda messages: renderer.supervised_example(messages, rules.train_on).alt(
                lambda error: InvalidRequest(message=str(error), index=index)
            )
        )
        .bind(lambda example: _fit(example, rules, index))
        .bind(lambda example: _with_loss(datum_of(example), rules, index))
    )


def _fit(example: RenderedExample, rules: DatumRules, index: int) -> Result[RenderedExample, TrainError]:
    length = len(example.tokens)
    if length <= rules.max_length:
        return Success(example)
    if not rules.truncate:
        return Failure(SequenceTooLong(index=index, length=length, limit=rules.max_length))
    return Success(example.first(rules.max_length))


def _with_loss(datum: Datum, rules: DatumRules, index: int) -> Result[Datum, TrainError]:
    if datum.num_loss_tokens > 0:
        return Success(datum)
    fix = f"give it an assistant message, or train on something else than {rules.train_on.value}"
    if len(datum.model_input) >= rules.max_length - 1:
        fix = "raise max_length: what would be trained on is cut off"
    return Failure(InvalidRequest(message="the row has no token to train on", fix=fix, index=index))


def build_data(rows: Sequence[Row], renderer: Renderer, rules: DatumRules) -> Result[tuple[Datum, ...], TrainError]:
    """Make the training data of all rows, in order; the first row that cannot be used is the error."""
    data: list[Datum] = []
    for index, row in enumerate(rows):
        built = build_datum(row, renderer, rules, index=index)
        if isinstance(built, Failure):
            return built
        data.append(built.unwrap())
    return Success(tuple(data))


def mean_over_tokens(data: Sequence[Datum]) -> tuple[Datum, ...]:
    """Scale the weights of a batch to sum to 1, so that its loss is the weighted mean over its trained tokens.

    A long example then counts as much as its tokens do, whatever the batch.
    """
    total = sum(sum(datum.loss_fn_inputs["weights"].data) for datum in data) or 1.0
    return tuple(_scaled(datum, 1.0 / total) for datum in data)


def _scaled(datum: Datum, factor: float) -> Datum:
    weights = TensorData.floats([weight * factor for weight in datum.loss_fn_inputs["weights"].data])
    return attrs.evolve(datum, loss_fn_inputs={**datum.loss_fn_inputs, "weights": weights})
