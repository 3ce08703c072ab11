"""Read a TensorFlow Lite network as a torch module: batched, differentiable, on any device.

Only the operators of MediaPipe's face networks are known; a file that needs another one is refused by that
operator's name. Activations of rank 4 live as (B, C, H, W) where TensorFlow Lite has (B, H, W, C); all others keep
their layout. Every constant is a buffer in float32, so there is nothing to train and `.to(device)` moves it all.
"""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tflite
import torch
import torch.nn.functional as F
from flatbuffers import flexbuffers
from torch import Tensor, nn

from models.errors import WeightsError

BUILTIN = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
DTYPES = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
REMEDY = "delete it and run `python -m pipeline.fetch_face_mesh`"
# What the flatbuffers reader and numpy raise when offsets or sizes in a damaged file point nowhere.
DAMAGE = (struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError)


class UnsupportedOperator(NotImplementedError):
    """The network needs an operator, or a variant of one, that this reader does not know."""


@dataclass(frozen=True)
class Operator:
    """One operator of the file with what is known before any input: shapes and constants."""

    name: str  # the name in TensorFlow Lite's list, or the custom operator's own
    inputs: list[int]  # tensor numbers
    output: int
    table: tflite.Operator
    shapes: list[list[int]]  # of every tensor of the network, batch 1, (1, H, W, C) order
    constants: dict[int, np.ndarray]  # by tensor number

    def options(self, kind: type):
        """The operator's built-in options; `kind` is their class, e.g. tflite.Conv2DOptions."""
        table, options = self.table.BuiltinOptions(), kind()
        options.Init(table.Bytes, table.Pos)
        return options

    def custom_options(self) -> dict:
        return flexbuffers.Loads(bytes(self.table.CustomOptionsAsNumpy()))

    def constant(self, position: int) -> np.ndarray:
        """The constant given as input number `position`."""
        return self.constants[self.inputs[position]]

    def shape(self, position: int) -> list[int]:
        return self.shapes[self.inputs[position]]

    def refuse(self, what: str) -> None:
        raise UnsupportedOperator(f"operator {self.name} with {what} is not supported")


class TFLiteGraph(nn.Module):
    """A .tflite network. `forward(x)` takes its one input and returns its outputs and the tensors named in `keep`.

    Args:
        path: the .tflite file.
        keep: names of intermediate tensors to return beside the outputs.

    Raises:
        WeightsError: the file is missing, damaged, no TensorFlow Lite network, lacks a tensor of `keep`, or needs an
            operator that is not known here.
    """

    def __init__(self, path: Path, keep: Sequence[str] = ()):
        super().__init__()
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:
            raise WeightsError(f"{path}: no such file; `python -m pipeline.fetch_face_mesh` gets it") from None
        if data[4:8] != b"TFL3":
            raise WeightsError(f"{path}: not a TensorFlow Lite network; {REMEDY}")
        try:
            self._build(data)
        except UnsupportedOperator as error:
            raise WeightsError(f"{path}: {error}; {REMEDY}") from None
        except DAMAGE as error:
            raise WeightsError(f"{path}: damaged TensorFlow Lite network; {REMEDY}") from error
        missing = [name for name in keep if name not in self._numbers]
        if missing:
            raise WeightsError(f"{path}: has no tensor named {', '.join(missing)}; {REMEDY}")
        self.returned = {name: self._numbers[name] for name in (*self.outputs, *keep)}

    def _build(self, data: bytes) -> None:
        model = tflite.Model.GetRootAsModel(data, 0)
        graph = model.Subgraphs(0)
        shapes, constants = _tensors(model, graph)
        self.steps = nn.ModuleList()  # one module per operator, in the order of execution
        self.wiring: list[tuple[list[int], int]] = []  # its input tensors and its output
        for i in range(graph.OperatorsLength()):
            operator = _operator(model, graph.Operators(i), shapes, constants)
            if operator.name not in BUILDERS and operator.name != "DEQUANTIZE":
                raise UnsupportedOperator(f"operator {operator.name} is not supported")
            if operator.name == "DEQUANTIZE":  # weights stored as float16
                constants[operator.output] = operator.constant(0).astype(np.float32)
                continue
            self.steps.append(BUILDERS[operator.name](operator))
            self.wiring.append(([n for n in operator.inputs if n not in constants], operator.output))
        self._numbers = {graph.Tensors(i).Name().decode(): i for i in range(graph.TensorsLength())}
        self.input = int(graph.Inputs(0))
        self.outputs = [graph.Tensors(int(i)).Name().decode() for i in graph.OutputsAsNumpy()]

    def forward(self, x: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """x (B, 3, H, W), of the size the network was made for -> {tensor name: value}.

        Args:
            names: of those that are returned the only ones to return: what they do not need is not computed.
        """
        wanted = {name: self.returned[name] for name in names or self.returned}
        values = {self.input: in_fast_layout(x)}
        for step, inputs, output, spent in self._plan(wanted.values()):
            values[output] = step(*[values[n] for n in inputs])
            for n in spent:
                del values[n]
        return {name: values[n] for name, n in wanted.items()}

    def _plan(self, wanted: Iterable[int]) -> list[tuple[nn.Module, list[int], int, list[int]]]:
        """The steps that some tensors need: inputs, output, and those that nobody needs afterwards."""
        needed, plan = set(wanted), []
        for step, (inputs, output) in reversed([*zip(self.steps, self.wiring, strict=True)]):
            if output in needed:
                plan.append((step, inputs, output, list(set(inputs) - needed)))
                needed.update(inputs)
        return plan[::-1]


def _tensors(model: tflite.Model, graph: tflite.SubGraph) -> tuple[list[list[int]], dict[int, np.ndarray]]:
    """Shape of every tensor, and the value of those that are constants."""
    shapes, constants = [], {}
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        shapes.append([int(n) for n in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else [])
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength():
            constants[i] = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[tensor.Type()]).reshape(shapes[i])
    return shapes, constants


def _operator(model: tflite.Model, table: tflite.Operator, shapes: list, constants: dict) -> Operator:
    code = model.OperatorCodes(table.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # old files fill only the second
    name = code.CustomCode().decode() if number == tflite.BuiltinOperator.CUSTOM else BUILTIN[number]
    inputs = [int(n) for n in table.InputsAsNumpy()]
    return Operator(name, inputs, int(table.Outputs(0)), table, shapes, constants)


# The operators. Each is a module whose forward takes the operator's non-constant inputs.


def in_fast_layout(x: Tensor) -> Tensor:
    """An activation of rank 4, on a CPU with channels last in memory: depthwise convolutions are twice as fast so."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def _buffer(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32).copy())


def _same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one axis: before, after."""
    total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class Window(nn.Module):
    """What convolution and pooling share: a stride and SAME or VALID padding."""

    def __init__(self, operator: Operator, options, kernel: tuple[int, int]):
        super().__init__()
        if options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
            operator.refuse("a fused activation")
        self.stride = (options.StrideH(), options.StrideW())
        top, bottom, left, right = 0, 0, 0, 0
        if options.Padding() == tflite.Padding.SAME:
            _, height, width, _ = operator.shape(0)
            top, bottom = _same_padding(height, kernel[0], self.stride[0])
            left, right = _same_padding(width, kernel[1], self.stride[1])
        even = (top, left) == (bottom, right)  # then torch pads inside its own operator, without a copy
        self.inner = (top, left) if even else (0, 0)
        self.outer = None if even else (left, right, top, bottom)


class Convolution(Window):
    """CONV_2D and DEPTHWISE_CONV_2D (one filter per channel)."""

    def __init__(self, operator: Operator):
        depthwise = operator.name == "DEPTHWISE_CONV_2D"
        options = operator.options(tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
        weight = operator.constant(1).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        super().__init__(operator, options, weight.shape[2:])
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            operator.refuse("dilation")
        if depthwise and weight.shape[0] != operator.shape(0)[3]:
            operator.refuse("several filters per channel")
        self.register_buffer("weight", _buffer(weight))
        self.register_buffer("bias", _buffer(operator.constant(2)))
        self.groups = weight.shape[0] if depthwise else 1
        self.per_pixel = weight.shape[1:] == (operator.shape(0)[3], 1, 1) and self.stride == (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.per_pixel and x.requires_grad and x.device.type == "cpu":  # forth and back in a third of the time
            return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)
        if self.outer:
            x = F.pad(x, self.outer)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.inner, groups=self.groups)


class FullyConnected(Convolution):
    """CONV_2D whose kernel covers its whole input: as a convolution, it would copy its weights in every call."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias)[..., None, None]


def _convolution(operator: Operator) -> Convolution:
    covered = operator.constant(1).shape[1:] == tuple(operator.shape(0)[1:])
    alone = operator.shapes[operator.output][1:3] == [1, 1]
    return (FullyConnected if covered and alone else Convolution)(operator)


class MaxPool(Window):
    def __init__(self, operator: Operator):
        options = operator.options(tflite.Pool2DOptions)
        self.kernel = (options.FilterHeight(), options.FilterWidth())
        super().__init__(operator, options, self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        if self.outer:
            x = F.pad(x, self.outer, value=-math.inf)
        return F.max_pool2d(x, self.kernel, self.stride, self.inner)


class FixedSlope(torch.autograd.Function):
    """`F.prelu` whose slope is a constant: torch's own backward pass takes several times as long."""

    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(gradient, x, 0)  # the gradient where x > 0, else 0
        return positive.lerp(gradient, slope.view(-1, 1, 1)), None


class PReLU(nn.Module):
    """Leaky ReLU with one slope per channel."""

    def __init__(self, operator: Operator):
        super().__init__()
        slope = operator.constant(1)
        if slope.size != slope.shape[-1] or len(operator.shape(0)) != 4:
            operator.refuse("a slope per pixel")
        self.register_buffer("slope", _buffer(slope.reshape(-1)))

    def forward(self, x: Tensor) -> Tensor:
        return FixedSlope.apply(x, self.slope)


class ReLU(nn.Module):
    def __init__(self, operator: Operator):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class Add(nn.Module):
    """The sum of two activations of the same shape."""

    def __init__(self, operator: Operator):
        super().__init__()
        if operator.options(tflite.AddOptions).FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
            operator.refuse("a fused activation")
        if operator.shape(0) != operator.shape(1) or operator.inputs[1] in operator.constants:
            operator.refuse("a constant or broadcast operand")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Scale(nn.Module):
    """MUL of an activation of rank 3 by a constant."""

    def __init__(self, operator: Operator):
        super().__init__()
        if operator.options(tflite.MulOptions).FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
            operator.refuse("a fused activation")
        if operator.inputs[1] not in operator.constants or len(operator.shape(0)) != 3:
            operator.refuse("anything but a constant factor of a rank 3 activation")
        self.register_buffer("factor", _buffer(operator.constant(1)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Pad(nn.Module):
    """Zeros around an activation of rank 4."""

    def __init__(self, operator: Operator):
        super().__init__()
        batch, height, width, channels = operator.constant(1).tolist()
        if batch != [0, 0]:
            operator.refuse("padding of the batch")
        self.padding = (*width, *height, *channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.padding)


class Reshape(nn.Module):
    def __init__(self, operator: Operator):
        super().__init__()
        self.shape = operator.shapes[operator.output][1:]

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = x.permute(0, 2, 3, 1)
        x = x.reshape(len(x), *self.shape)
        return x.permute(0, 3, 1, 2) if x.dim() == 4 else x


class Identity(nn.Module):
    """STRIDED_SLICE that takes everything."""

    def __init__(self, operator: Operator):
        super().__init__()
        if operator.shape(0) != operator.shapes[operator.output]:
            operator.refuse("a real slice")

    def forward(self, x: Tensor) -> Tensor:
        return x


class Concatenate(nn.Module):
    def __init__(self, operator: Operator):
        super().__init__()
        self.axis = operator.options(tflite.ConcatenationOptions).Axis()
        if len(operator.shape(0)) == 4:
            operator.refuse("activations of rank 4")

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.axis)


class LandmarksToMatrix(nn.Module):
    """The rotated box round some landmarks, as the matrix from its own pixels to the landmarks' coordinates."""

    def __init__(self, operator: Operator):
        super().__init__()
        options = operator.custom_options()
        self.left, self.right = options["left_rotation_idx"], options["right_rotation_idx"]
        self.target_angle = options["target_rotation_radians"]
        self.size = (options["output_width"], options["output_height"])
        self.scale = (options["scale_x"], options["scale_y"])
        self.subset = [int(i) for i in options["subset_idxs"]]
        self.register_buffer("index", torch.tensor(self.subset), persistent=False)
        self.register_buffer("lower", torch.eye(4)[2:], persistent=False)  # the matrix's last two rows

    def forward(self, landmarks: Tensor) -> Tensor:
        """(B, N, 3) -> (B, 4, 4)."""
        across = landmarks[:, self.right, :2] - landmarks[:, self.left, :2]
        angle = self.target_angle - torch.atan2(across[:, 1], across[:, 0])
        cos, sin = angle.cos(), angle.sin()
        upright = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)  # (B, 2, 2)
        points = landmarks[:, self.index, :2] @ upright.transpose(1, 2)
        low, high = points.amin(1), points.amax(1)
        # Columns: one step along the box's x and y axis, its corner; the rotation's inverse is its transpose.
        step_x = upright[:, 0] * (high - low)[:, :1] * (self.scale[0] / self.size[0])
        step_y = upright[:, 1] * (high - low)[:, 1:] * (self.scale[1] / self.size[1])
        centre = (((low + high) / 2)[:, None] @ upright)[:, 0]
        corner = centre - step_x * (self.size[0] / 2) - step_y * (self.size[1] / 2)
        matrix = torch.stack([step_x, step_y, torch.zeros_like(corner), corner], -1)  # (B, 2, 4)
        return torch.cat([matrix, self.lower.expand(len(matrix), 2, 4)], 1)


class BilinearCrop(nn.Module):
    """Sample an activation on the grid that a matrix spans; zero outside."""

    def __init__(self, operator: Operator):
        super().__init__()
        options = operator.custom_options()
        self.height, self.width = options["output_height"], options["output_width"]
        y, x = torch.meshgrid(torch.arange(self.height) + 0.5, torch.arange(self.width) + 0.5, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y], -1).view(-1, 2), persistent=False)
        _, height, width, _ = operator.shape(0)
        self.register_buffer("extent", torch.tensor([width - 1.0, height - 1.0]), persistent=False)

    def forward(self, x: Tensor, matrix: Tensor) -> Tensor:
        """x (B, C, H, W), matrix (B, 4, 4) -> (B, C, height, width)."""
        points = self.grid @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 3] - 0.5
        inside = ((points >= 0) & (points <= self.extent)).all(-1).view(-1, 1, self.height, self.width)
        grid = (points / self.extent * 2 - 1).view(-1, self.height, self.width, 2)
        return in_fast_layout(F.grid_sample(x, grid, align_corners=True) * inside)


class TransformLandmarks(nn.Module):
    """Landmarks (B, N, 2) in a box's pixels through its matrix (B, 4, 4)."""

    def __init__(self, operator: Operator):
        super().__init__()

    def forward(self, landmarks: Tensor, matrix: Tensor) -> Tensor:
        return landmarks @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 3]


BUILDERS: dict[str, Callable[[Operator], nn.Module]] = {
    "ADD": Add,
    "CONCATENATION": Concatenate,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": Convolution,
    "MAX_POOL_2D": MaxPool,
    "MUL": Scale,
    "PAD": Pad,
    "PRELU": PReLU,
    "RELU": ReLU,
    "RESHAPE": Reshape,
    "STRIDED_SLICE": Identity,
    "Landmarks2TransformMatrix": LandmarksToMatrix,
    "TransformTensorBilinear": BilinearCrop,
    "TransformLandmarks": TransformLandmarks,
}
