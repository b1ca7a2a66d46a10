"""Our messages against two clients' own definitions of them: field for field, and byte for byte."""

import base64
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from serving.oip.messages import MESSAGES

TRITON = ("tritonclient.grpc.model_config_pb2", "tritonclient.grpc.service_pb2")
KSERVE = ("kserve.protocol.grpc.grpc_predict_v2_pb2",)

LOAD_ANSWERS = {"RepositoryModelLoadResponse", "RepositoryModelUnloadResponse"}
"""Triton answers these with nothing, KServe with what happened; ours is KServe's."""
LOAD_REQUESTS = {"RepositoryModelLoadRequest", "RepositoryModelUnloadRequest"}
"""KServe has the model's name where Triton has the repository's; ours is Triton's."""
PARTIAL = {"ModelConfig", "ModelInstanceGroup", "ModelWarmup", "ModelDynamicBatching"}
"""Of a configuration, only the fields that ours use."""


@cache
def theirs(modules: tuple[str, ...]) -> dict[str, Any]:
    """A client's messages by name. Each is read in a process of its own: two clients do not fit into one."""
    show = "import base64, importlib, sys\nfor name in sys.argv[1:]:\n"
    show += "    print(base64.b64encode(importlib.import_module(name).DESCRIPTOR.serialized_pb).decode())"
    lines = subprocess.check_output([sys.executable, "-c", show, *modules], text=True).split()
    pool = descriptor_pool.DescriptorPool()
    found = {}
    for line in lines:
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(line))
        pool.AddSerializedFile(file.SerializeToString())
        for message in file.message_type:
            found |= _with_nested(message.name, pool.FindMessageTypeByName(f"inference.{message.name}"))
    return found


def _with_nested(name: str, descriptor: Any) -> dict[str, Any]:
    found = {name: descriptor}
    for nested in descriptor.nested_types:
        found |= _with_nested(f"{name}.{nested.name}", nested)
    return found


def shape_of(field: Any) -> tuple[object, ...]:
    """All that decides how a field looks on the wire and in a program."""
    message = field.message_type
    entry = message is not None and message.GetOptions().map_entry
    return (
        field.name,
        field.number,
        field.type,
        field.is_repeated,
        field.is_packed,
        field.containing_oneof.name if field.containing_oneof else "",
        field.enum_type.full_name if field.enum_type else "",
        [shape_of(inner) for inner in message.fields] if entry else message.full_name if message else "",
    )


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - LOAD_ANSWERS))
def test_every_field_is_tritons(name: str) -> None:
    expected = {field.name: field for field in theirs(TRITON)[name].fields}
    for field in MESSAGES[name].DESCRIPTOR.fields:
        assert shape_of(field) == shape_of(expected[field.name])


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - PARTIAL - LOAD_ANSWERS))
def test_no_field_of_tritons_is_missing(name: str) -> None:
    expected = {field.name for field in theirs(TRITON)[name].fields}
    assert {field.name for field in MESSAGES[name].DESCRIPTOR.fields} == expected


def test_every_field_of_kserves_is_there() -> None:
    checked = 0
    for name in theirs(KSERVE).keys() & MESSAGES.keys() - LOAD_REQUESTS:
        ours = {field.name: shape_of(field) for field in MESSAGES[name].DESCRIPTOR.fields}
        for field in theirs(KSERVE)[name].fields:
            assert ours[field.name] == shape_of(field)
            checked += 1
    assert checked > 50


def test_every_enum_has_tritons_numbers() -> None:
    checked = 0
    for name, message in MESSAGES.items():
        for field in message.DESCRIPTOR.fields:
            if field.enum_type:
                other = theirs(TRITON)[name].fields_by_name[field.name].enum_type
                assert field.enum_type.values_by_name.keys() == other.values_by_name.keys()
                for value in other.values:
                    assert field.enum_type.values_by_name[value.name].number == value.number
                checked += 1
    assert checked


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - LOAD_ANSWERS))
def test_a_message_with_every_field_set_has_tritons_bytes(name: str) -> None:
    ours = filled(MESSAGES[name]())
    sent = ours.SerializeToString(deterministic=True)
    got = message_factory.GetMessageClass(theirs(TRITON)[name]).FromString(sent)
    assert got.SerializeToString(deterministic=True) == sent
    assert str(got) == str(ours)  # every field by the same name, none that they do not know
    assert MESSAGES[name].FromString(got.SerializeToString()) == ours


def filled(message: Any, depth: int = 4) -> Any:
    """The message with a value other than the default in every field, down to a depth."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is None:
            one = value_for(field)
            value.extend([one, one]) if field.is_repeated else setattr(message, field.name, one)
        elif depth and field.message_type.GetOptions().map_entry:
            filled(value["key"], depth - 1) if field.message_type.fields_by_name["value"].message_type else None
        elif depth:
            filled(value.add() if field.is_repeated else value, depth - 1)
    return message


def value_for(field: Any) -> object:
    if field.enum_type:
        return field.enum_type.values[-1].number
    number = field.number + 1
    kinds: dict[int, object] = {
        field.CPPTYPE_BOOL: True,
        field.CPPTYPE_STRING: b"\0\xff" if field.type == field.TYPE_BYTES else f"가{number}",
        field.CPPTYPE_FLOAT: number / 4,
        field.CPPTYPE_DOUBLE: number / 3,
    }
    return kinds.get(field.cpp_type, number)
