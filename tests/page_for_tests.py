"""A browser with a page in it."""

import base64
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOCAL = ("file:", "blob:", "data:", "http://127.0.0.1", "about:")

PACKED = """(values) => {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(text);
}"""  # a page's typed array as letters: number by number, the way out of the browser takes minutes


def unpacked(letters: str, kind: str) -> np.ndarray:
    """What PACKED has packed, as a flat array of this dtype."""
    return np.frombuffer(base64.b64decode(letters), kind)


class Visit:
    """A page that is open, and what it did meanwhile."""

    def __init__(self, tab):
        self.tab = tab
        self.said: list[str] = []  # errors on the console
        self.asked: list[str] = []  # requests, the page's own among them
        tab.on("console", lambda line: self.said.append(line.text) if line.type == "error" else None)
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))

    def open(self, address: str, seconds: float = 240) -> "Visit":
        """Go there and wait until the portrait can be moved."""
        self.tab.goto(address)
        self.tab.wait_for_selector("html[data-ready=true]", timeout=seconds * 1000)
        return self

    def message(self) -> str:
        return self.tab.locator("#message").inner_text() if self.tab.locator("#message").is_visible() else ""


@contextmanager
def visit(playwright, *options: str, width: int = 1440, height: int = 900, seconds: float = 900, **of_page) -> Iterator:
    """A tab in a Chromium of its own, without a screen, for so long at most.

    Chromium is killed at the end: one whose graphics hang never closes, and Playwright waits for it without end.
    """
    others = set(psutil.Process().children(recursive=True))
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *options])
    own = set(psutil.Process().children(recursive=True)) - others

    def end() -> None:
        for process in own:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    alarm = threading.Timer(seconds, end)
    alarm.start()
    try:
        yield Visit(chromium.new_page(viewport={"width": width, "height": height}, **of_page))
    finally:
        alarm.cancel()
        end()


SOFTWARE_GPU = [
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
]


def camera(video: Path) -> list[str]:
    """Chromium's options for a camera that shows a .y4m or .mjpeg file again and again, and is allowed."""
    return [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={video}",
    ]
