"""What kinds of input come over HTTP: their content types, and how one looks in a JSON body.

Knows raw inputs as the preprocessing reads them. Knows nothing of tasks or of request bodies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from bundle.preprocess.image import FORMATS


class Encoded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes in JSON."""

    b64: bytes


@dataclass(frozen=True)
class Medium:
    """One kind of input."""

    name: str
    accepts: tuple[str, ...]
    """Content types of a raw body."""
    instance_type: Any
    """One input in a JSON body."""
    to_raw: Callable[[Any], bytes]
    """That, as the bytes a raw body would hold."""
    shown: str
    """The JSON form, for messages."""
    is_text: bool
    """Whether a charset may be named, and a multipart field stand in for a file."""

    @cached_property
    def instances_type(self) -> type[msgspec.Struct]:
        """The JSON body: inputs in order."""
        fields = [("instances", list[self.instance_type])]  # type: ignore[name-defined]
        return msgspec.defstruct(f"{self.name}Instances", fields, frozen=True, forbid_unknown_fields=True)


IMAGES = Medium("Image", tuple(FORMATS.values()), Encoded, lambda one: one.b64, '{"b64": "<base64>"}', is_text=False)
TEXTS = Medium("Text", ("text/plain",), str, str.encode, '"<text>"', is_text=True)
SERIES = Medium("Series", ("text/csv", "text/plain"), list[float], msgspec.json.encode, "[0.1, ...]", is_text=True)
