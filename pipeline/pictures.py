"""Pictures as arrays."""

import cv2
import numpy as np


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """(S, S, 3) -> (size, size, 3) uint8: area average when shrinking."""
    if len(frame) == size:
        return frame
    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if len(frame) > size else cv2.INTER_CUBIC)


def label(frame: np.ndarray, text: str) -> np.ndarray:
    """Write `text` into the lower right corner of (S, S, 3), in place, legible on any ground.

    In large pictures it takes a smaller part, so as not to disturb.
    """
    size, font = len(frame), cv2.FONT_HERSHEY_SIMPLEX
    scale, thick = 0.24 + 0.12 * size / 256, max(1, round(size / 512))
    scale *= min(1, 0.9 * size / cv2.getTextSize(text, font, scale, thick)[0][0])
    (width, height), _ = cv2.getTextSize(text, font, scale, thick)
    edge = height // 2
    left, bottom = size - width - edge, size - height
    frame[bottom - height - edge : bottom + height // 2 + edge, left - edge : left + width + edge] //= 3
    cv2.putText(frame, text, (left, bottom), font, scale, (235, 235, 235), thick, cv2.LINE_AA)
    return frame
