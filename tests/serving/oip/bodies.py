"""Bodies of infer requests, as clients make them, and answers taken apart again."""

import json
import struct
from typing import Any

import httpx
import numpy as np

from serving.oip.datatypes import DATATYPES, array_from_bytes, bytes_from_array, name_of
from serving.oip.request import HEADER


def json_input(name: str, array: Any, datatype: str = "", flat: bool = False) -> dict[str, Any]:
    """An input with its data in the JSON."""
    array = np.asarray(array)
    datatype = datatype or name_of(str(array.dtype))
    data = (array.ravel() if flat else array).tolist()
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def binary_input(name: str, array: Any, datatype: str = "", **parameters: Any) -> tuple[dict[str, Any], bytes]:
    """An input with its data behind the JSON, and the data."""
    datatype = datatype or name_of(str(array.dtype))
    raw = bytes(bytes_from_array(array, datatype))
    described = {"binary_data_size": len(raw)} | parameters
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "parameters": described}, raw


def encoded_input(name: str, elements: list[bytes], shape: list[int] | None = None) -> tuple[dict[str, Any], bytes]:
    """BYTES in place of tensors."""
    raw = b"".join(struct.pack("<I", len(one)) + one for one in elements)
    shape = [len(elements)] if shape is None else shape
    return {"name": name, "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}, raw


def body_of(document: Any, *raws: bytes) -> tuple[bytes, dict[str, str]]:
    """A whole body and its headers."""
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    if not raws:
        return head, {"content-type": "application/json"}
    return b"".join((head, *raws)), {"content-type": "application/octet-stream", HEADER: str(len(head))}


def answer_of(response: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON of an answer, and its outputs by name as arrays; BYTES as arrays of `bytes`."""
    assert response.status_code == 200, response.text
    size = int(response.headers.get(HEADER, len(response.content)))
    is_binary = HEADER in response.headers
    assert response.headers["content-type"] == ("application/octet-stream" if is_binary else "application/json")
    document, rest = json.loads(response.content[:size]), response.content[size:]
    arrays = {}
    for one in document["outputs"]:
        datatype = DATATYPES[one["datatype"]]
        if "parameters" in one:
            assert list(one["parameters"]) == ["binary_data_size"]
            taken = one["parameters"]["binary_data_size"]
            arrays[one["name"]] = array_from_bytes(datatype, one["shape"], rest[:taken])
            rest = rest[taken:]
        elif datatype.wire is None:
            arrays[one["name"]] = np.array([text.encode() for text in one["data"]], object).reshape(one["shape"])
        else:
            arrays[one["name"]] = np.array(one["data"], datatype.wire).reshape(one["shape"])
    assert not rest
    return document, arrays
