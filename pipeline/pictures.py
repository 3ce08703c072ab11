"""Pictures as arrays."""

import cv2
import numpy as np


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) -> (size, size, 3) uint8: area average when shrinking."""
    if len(frame) == size:
        return frame
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if len(frame) > size else cv2.INTER_CUBIC)
