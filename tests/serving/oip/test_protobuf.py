"""Tables of fields to classes of messages."""

import pytest

from serving.oip.protobuf import message_types

TABLE = {
    "Answer": "id 1 string, one 2 bool choice, other 3 int64 choice, parts 4 Answer.Part*, notes 5 Note{}, kind 6 Kind",
    "Answer.Part": "values 1 float*",
    "Note": "text 1 string",
}


def test_every_kind_of_field_comes_back_as_it_was_sent() -> None:
    types = message_types("test", TABLE, {"Kind": ("NONE", "SOME")})
    sent = types["Answer"](id="a", other=-1, kind="SOME")
    sent.parts.add(values=[0.5, 2.0])
    sent.notes["n"].text = "가"
    got = types["Answer"].FromString(sent.SerializeToString())
    assert got == sent
    assert (got.WhichOneof("choice"), got.other, got.kind, got.notes["n"].text) == ("other", -1, 1, "가")
    assert list(got.parts[0].values) == [0.5, 2.0]


def test_only_one_field_of_a_group_is_set() -> None:
    answer = message_types("test", TABLE, {"Kind": ("NONE", "SOME")})["Answer"](other=5)
    answer.one = True
    assert answer.WhichOneof("choice") == "one"


def test_one_name_may_be_described_twice_in_a_process() -> None:
    first, second = message_types("test", {"A": "x 1 string"}), message_types("test", {"A": "y 7 int64"})
    assert first["A"](x="text").x == "text"
    assert second["A"](y=3).y == 3


@pytest.mark.parametrize(
    "table",
    [{"A": "x 1 Nobody"}, {"A": "x 1 string, y 1 string"}, {"A": "x 1 string, x 2 string"}],
    ids=["no such type", "a number twice", "a name twice"],
)
def test_a_table_that_contradicts_itself_is_refused(table: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        message_types("test", table)
