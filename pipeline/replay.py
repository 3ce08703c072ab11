"""Calls that a GPU repeats as one CUDA graph: what a step costs is then the GPU's work, not the launching of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # plain calls before the capture, in which libraries choose kernels and caches fill


class Replay:
    """A function of tensors, captured at its first call on a GPU and replayed at every later one of the same shapes.

    Calls of other shapes, and all on a processor, are plain calls.

    Args:
        function: called with tensors by name. All that it reads besides must stay where it is in memory, and it may
            neither wait for the GPU nor choose its way by a tensor's value.
    """

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: dict[str, Tensor] = {}
        self.result: Any = None

    def __call__(self, **inputs: Tensor) -> Any:
        """The function's result; a replay writes it where the last one did."""
        if all(value.device.type == "cpu" for value in inputs.values()):
            return self.function(**inputs)
        if self.graph is None:
            self._capture(inputs)
        if any(self.inputs[name].shape != value.shape for name, value in inputs.items()):
            return self.function(**inputs)
        for name, value in inputs.items():
            self.inputs[name].copy_(value)
        self.graph.replay()
        return self.result

    def _capture(self, inputs: dict[str, Tensor]) -> None:
        self.inputs = {name: value.clone() for name, value in inputs.items()}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.function(**self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
            self.result = self.function(**self.inputs)
