"""Where networks run, and in which precision."""

import ctypes
import platform

import torch

GLIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one, else the processor."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        keep_freed_memory()
    return torch.device(name)


def keep_freed_memory(most: int = 2**30) -> None:
    """Let the process keep blocks up to `most` bytes that it frees, to use them again.

    glibc gives large blocks back at once and has every new one paged in afresh: a third of the tracker's time.
    """
    if GLIBC:
        GLIBC.mallopt(M_MMAP_THRESHOLD, most)
        GLIBC.mallopt(M_TRIM_THRESHOLD, 2 * most - 1)


def half_precision(device: torch.device) -> torch.autocast:
    """Context in which networks compute in bfloat16 where the device has it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware; elsewhere it would be slower than float32, not faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
