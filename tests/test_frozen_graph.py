"""Constants come out of a GraphDef as they went in, and a damaged file is named. The encoder here writes the format."""

import struct
import tracemalloc

import numpy as np
import pytest

from models.errors import WeightsError
from models.frozen_graph import read_constants

FLOAT, INT32 = 1, 3  # DataType


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | str | bytes) -> bytes:
    """A varint, or a length and that many bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(shape: tuple[int, ...], *data: bytes, dtype: int = FLOAT) -> bytes:
    """A TensorProto; a dimension of size 0 is an empty message."""
    dims = b"".join(field(2, field(1, size) if size else b"") for size in shape)
    return field(1, dtype) + field(2, dims) + b"".join(data)


def content(array: np.ndarray, dtype: str = "<f4") -> bytes:
    return field(4, np.asarray(array, dtype).tobytes())


def packed(values: list[float]) -> bytes:
    return field(5, struct.pack(f"<{len(values)}f", *values))


def unpacked(values: list[float]) -> bytes:
    return b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in values)


def node(name: str, operator: str, value: bytes | None = None, inputs: tuple[str, ...] = ()) -> bytes:
    """A NodeDef in a GraphDef; `value` is a TensorProto. The attribute dtype and a device are there too."""
    attributes = [("dtype", field(6, FLOAT))] + ([("value", field(8, value))] if value is not None else [])
    body = field(1, name) + field(2, operator) + b"".join(field(3, before) for before in inputs) + field(4, "/cpu:0")
    return field(1, body + b"".join(field(5, field(1, key) + field(2, entry)) for key, entry in attributes))


def constant(name: str, array: np.ndarray) -> bytes:
    return node(name, "Const", tensor(np.shape(array), content(array)))


def around(nodes: bytes) -> bytes:
    """A whole graph: other nodes, a version, a function library."""
    versions = field(4, field(1, 24))
    placeholder = node("input_node", "Placeholder")
    return versions + placeholder + nodes + node("logits", "Reshape", inputs=("Add", "shape")) + field(2, field(1, b""))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "graph.pb"


def test_tensor_content_is_read(path):
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    path.write_bytes(around(constant("h1", array) + constant("rnn/fw/bias", array[0])))
    found = read_constants(path)
    assert list(found) == ["h1", "rnn/fw/bias"]
    assert found["h1"].dtype == np.float32
    np.testing.assert_array_equal(found["h1"], array)
    np.testing.assert_array_equal(found["rnn/fw/bias"], array[0])


@pytest.mark.parametrize(
    ("shape", "data", "expected"),
    [
        ((2, 2), packed([1, 2, 3, 4]), [[1, 2], [3, 4]]),
        ((2, 2), unpacked([1, 2, 3, 4]), [[1, 2], [3, 4]]),
        ((4,), packed([1, 2]) + unpacked([3, 4]), [1, 2, 3, 4]),
        ((), packed([20]), 20),
        ((), unpacked([20]), 20),
        ((), content(20), 20),
        ((2, 3), unpacked([0.5]), [[0.5] * 3] * 2),
        ((4,), packed([1, 2]), [1, 2, 2, 2]),
        ((3,), b"", [0, 0, 0]),
        ((0,), b"", []),
        ((0, 3), packed([]), np.zeros((0, 3))),
    ],
    ids=["packed", "unpacked", "mixed", "scalar", "scalar unpacked", "scalar content", "one for all", "last repeats",
         "none is zero", "empty", "empty rows"],
)  # fmt: skip
def test_listed_values_are_read_as_tensorflow_does(path, shape, data, expected):
    path.write_bytes(around(node("c", "Const", tensor(shape, data))))
    found = read_constants(path)["c"]
    assert found.shape == shape
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_only_float_constants_are_returned(path):
    other = node("axis", "Const", tensor((2,), content([1, 2], "<i4"), dtype=INT32)) + node(
        "v", "Fill", tensor((), packed([1]))
    )
    path.write_bytes(around(constant("h1", np.ones(2)) + other + node("empty", "Const")))
    assert list(read_constants(path)) == ["h1"]


@pytest.mark.parametrize("data", [b"", b"<html>Not found</html>", b"PK\x03\x04" + bytes(50), field(4, field(1, 24))])
def test_what_is_no_graph_is_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"graph\.pb: .*no frozen TensorFlow graph"):
        read_constants(path)


def test_random_bytes_are_refused(path):
    rng = np.random.default_rng(0)
    for _ in range(200):
        path.write_bytes(rng.bytes(300))
        with pytest.raises(WeightsError, match=r"graph\.pb"):
            read_constants(path)


def test_a_file_cut_within_a_node_is_refused_wherever_it_is_cut(path):
    head = node("input_node", "Placeholder")
    whole = head + constant("h1", np.ones((2, 3)))
    for length in range(len(head) + 1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"graph\.pb: truncated"):
            read_constants(path)


@pytest.mark.parametrize("length", [2**31, 2**62, 2**69])
def test_a_length_beyond_the_end_is_refused(path, length):
    path.write_bytes(varint(1 << 3 | 2) + varint(length) + b"abc")
    with pytest.raises(WeightsError, match="ends within a field"):
        read_constants(path)


@pytest.mark.parametrize("shape", [(2**40,), (2**14, 2**14), (0, 2**40), (2**64 - 1,), (3, 2**63)])
@pytest.mark.parametrize("data", [packed([1]), packed([1, 2]), content([1, 2])], ids=["one", "list", "content"])
def test_a_lying_shape_allocates_nothing(path, shape, data):
    path.write_bytes(around(node("h1", "Const", tensor(shape, data))))
    tracemalloc.start()
    with pytest.raises(WeightsError, match=r"graph\.pb: .*constant h1: claims the shape"):
        read_constants(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


@pytest.mark.parametrize(
    ("shape", "data"),
    [((3,), content([1, 2])), ((2,), content([1])), ((1,), content([1, 2])), ((2,), packed([1, 2, 3])),
     ((1,), field(4, b"abc")), ((1,), field(4, 7)), ((1,) * 9, packed([1]))],
    ids=["too few", "one in the content", "too many", "too many listed", "broken", "a number", "nine dimensions"],
)  # fmt: skip
def test_shape_and_data_that_disagree_are_refused_by_name(path, shape, data):
    path.write_bytes(around(node("h1", "Const", tensor(shape, data))))
    with pytest.raises(WeightsError, match=r"graph\.pb: .*constant h1: "):
        read_constants(path)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_is_no_file_is_named(tmp_path, kind):
    path = tmp_path if kind == "folder" else tmp_path / "missing.pb"
    with pytest.raises(WeightsError, match=path.name):
        read_constants(path)
