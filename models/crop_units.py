"""Places in a square picture: px, whole numbers at the centres of pixels, and crop units, in which it spans [-1, 1]."""

import numpy as np
from torch import Tensor


def crop_units(px: Tensor | np.ndarray, size: int) -> Tensor | np.ndarray:
    """px of a picture `size` wide -> crop units, from edge to edge."""
    return (px + 0.5) / size * 2 - 1


def pixels(units: Tensor | np.ndarray, size: int) -> Tensor | np.ndarray:
    """`crop_units` undone."""
    return (units + 1) / 2 * size - 0.5
