"""Protobuf messages out of a short table of their fields, with no generated code.

The descriptors go into a pool of their own: programs that also import a client's generated modules (tritonclient's,
KServe's) would otherwise find two definitions of one name in the process-wide pool, which protobuf refuses.

A table maps a message's name (nested ones with dots, after the message around them) to its fields, one
`name number type` each, separated by commas. `type*` is repeated, `type{}` a map from text to the type, and a fourth
word names the group ("oneof") of which only one field is ever set. Knows protobuf. Knows nothing of any protocol.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FieldProto = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "bool": FieldProto.TYPE_BOOL,
    "bytes": FieldProto.TYPE_BYTES,
    "double": FieldProto.TYPE_DOUBLE,
    "float": FieldProto.TYPE_FLOAT,
    "int32": FieldProto.TYPE_INT32,
    "int64": FieldProto.TYPE_INT64,
    "string": FieldProto.TYPE_STRING,
    "uint32": FieldProto.TYPE_UINT32,
    "uint64": FieldProto.TYPE_UINT64,
}

MessageType = Any
"""A class of messages; protobuf makes them while the program runs, so no type checker knows their fields."""


def message_types(
    package: str, messages: Mapping[str, str], enums: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, MessageType]:
    """The classes of a table's messages, by name. An enum is its values' names, counted from 0.

    Raises:
        TypeError: the table names a type that it does not have, or a number or name twice.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.table", package=package, syntax="proto3")
    places: dict[str, Any] = {}
    for name in messages:
        outer, _, own = name.rpartition(".")
        places[name] = (places[outer].nested_type if outer else file.message_type).add(name=own)
    for name, values in (enums or {}).items():
        outer, _, own = name.rpartition(".")
        enum = (places[outer] if outer else file).enum_type.add(name=own)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in messages.items():
        for field in filter(None, (field.split() for field in fields.split(","))):
            _add_field(places[name], f".{package}.", name, field, enums or {})
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages}


def _add_field(place: Any, prefix: str, message: str, words: list[str], enums: Mapping[str, tuple[str, ...]]) -> None:
    name, number, kind, *group = words
    field = place.field.add(name=name, number=int(number), label=FieldProto.LABEL_OPTIONAL)
    if group:
        field.oneof_index = _group_index(place, group[0])
    if kind.endswith("{}"):
        field.label = FieldProto.LABEL_REPEATED
        entry_name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry = place.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _set_type(entry.field.add(name="key", number=1, label=FieldProto.LABEL_OPTIONAL), "string", prefix, enums)
        _set_type(entry.field.add(name="value", number=2, label=FieldProto.LABEL_OPTIONAL), kind[:-2], prefix, enums)
        _set_type(field, f"{message}.{entry_name}", prefix, enums)
        return
    if kind.endswith("*"):
        field.label = FieldProto.LABEL_REPEATED
    _set_type(field, kind.removesuffix("*"), prefix, enums)


def _set_type(field: Any, kind: str, prefix: str, enums: Mapping[str, tuple[str, ...]]) -> None:
    if kind in SCALARS:
        field.type = SCALARS[kind]
        return
    field.type = FieldProto.TYPE_ENUM if kind in enums else FieldProto.TYPE_MESSAGE
    field.type_name = prefix + kind


def _group_index(place: Any, group: str) -> int:
    names = [declared.name for declared in place.oneof_decl]
    if group not in names:
        place.oneof_decl.add(name=group)
        return len(names)
    return names.index(group)
