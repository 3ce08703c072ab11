"""Read the constants of a frozen TensorFlow graph (GraphDef, .pb) without TensorFlow; nothing in it is executed.

Of the protobuf wire format only what such a file uses is known: a message is a row of fields, each a key
(field number * 8 + wire type) and a value. The schema is tensorflow/core/framework/{graph,node_def,attr_value,tensor,
tensor_shape}.proto.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.errors import WeightsError

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # wire types; 3 and 4, groups, are not in use
FIXED = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
FLOAT = 1  # DataType DT_FLOAT
LARGEST = 2**27  # values of one constant, 512 MB; a file may claim any shape


class Damaged(ValueError):
    """The bytes are not what they claim to be."""


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """The float constants of a graph by the names of their nodes; nodes and constants of other kinds are left out.

    The arrays are read-only float32 views of the file's content.

    Raises:
        WeightsError: the file is missing, truncated, no GraphDef, or a constant's shape and data do not agree.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; `snakemake weights` fetches it or says where to get it") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); it should be a file") from None
    try:
        nodes = [node for number, node in _fields(memoryview(data)) if number == 1]  # GraphDef.node
        constants = dict(found for node in nodes if (found := _constant(node)) is not None)
    except Damaged as error:
        raise WeightsError(f"{path}: truncated, or no frozen TensorFlow graph ({error}); get it again") from None
    if not nodes:
        raise WeightsError(f"{path}: holds no node, so it is no frozen TensorFlow graph; get it again")
    return constants


def _constant(node: memoryview) -> tuple[str, np.ndarray] | None:
    """Name and value of a NodeDef, if it is a float constant."""
    name, operator, tensor = "", "", None
    for number, value in _fields(node):
        if number == 1:
            name = _text(value)
        elif number == 2:
            operator = _text(value)
        elif number == 5:  # one entry of the map `attr`: key 1, AttrValue 2
            entry = dict(_fields(value))
            if _text(entry.get(1, b"")) == "value":
                tensor = dict(_fields(entry.get(2, b""))).get(8, tensor)  # AttrValue.tensor
    if operator != "Const" or tensor is None:
        return None
    try:
        value = _tensor(tensor)
    except Damaged as error:
        raise Damaged(f"constant {name}: {error}") from None
    return None if value is None else (name, value)


def _tensor(data: memoryview) -> np.ndarray | None:
    """The value of a TensorProto, if it is of floats."""
    kind, shape, content, listed = 0, (), b"", []
    for number, value in _fields(data):
        if number == 1:
            kind = value
        elif number == 2:
            shape = _shape(value)
        elif number == 4:
            content = _bytes(value)
        elif number == 5:  # float_val, packed or one by one
            listed.append(_bytes(value))
    if kind != FLOAT:
        return None
    if len(content):
        return _whole(_floats(content), shape)
    values = _floats(b"".join(listed)) if listed else np.zeros(1, np.float32)
    if len(values) == 1:  # it stands for all, and takes no memory however large the shape
        return np.broadcast_to(values[0], shape)
    rest = max(0, math.prod(shape) - len(values))  # as many more of the last value
    return _whole(np.concatenate([values, np.broadcast_to(values[-1:], rest)]) if rest else values, shape)


def _whole(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if len(values) != math.prod(shape):
        raise Damaged(f"has {len(values)} values for the shape {shape}")
    return values.reshape(shape)


def _shape(data: memoryview) -> tuple[int, ...]:
    """A TensorShapeProto; a size that is left out is 0."""
    shape = tuple(dict(_fields(value)).get(1, 0) for number, value in _fields(data) if number == 2)
    if len(shape) > 8 or not all(isinstance(size, int) for size in shape):
        raise Damaged("has no possible shape")
    if math.prod(max(size, 1) for size in shape) > LARGEST:
        raise Damaged(f"claims the shape {shape}, more than {LARGEST} values")
    return shape


def _floats(data: memoryview) -> np.ndarray:
    if len(data) % 4:
        raise Damaged("holds broken floats")
    return np.frombuffer(data, "<f4")


def _text(data: memoryview) -> str:
    try:
        return bytes(_bytes(data)).decode()
    except UnicodeDecodeError:
        raise Damaged("has a name that is no text") from None


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise Damaged("has a number where text or a message belongs")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message: an int, or the bytes of a text, message or fixed-size number."""
    position = 0
    while position < len(_bytes(message)):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = _varint(message, position)
        else:
            if wire == BYTES:
                length, position = _varint(message, position)
            elif wire in FIXED:
                length = FIXED[wire]
            else:
                raise Damaged(f"has a field of wire type {wire}")
            value, position = message[position : position + length], position + length
            if position > len(message):
                raise Damaged("ends within a field")
        yield number, value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The unsigned number at `position`, 7 bits a byte, lowest first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise Damaged("ends within a number")
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise Damaged("has a number of more than 10 bytes")
