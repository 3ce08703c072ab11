"""Show a folder to this computer's browser, with the headers that let a page compute on several threads."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.cli import run
from pipeline.errors import InputError


class Isolated(SimpleHTTPRequestHandler):
    """Files as they are; a page gets shared memory, which threads need, only when cut off from other origins."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def send_head(self):
        """Nothing for a page of another site that calls itself by a name of this computer (DNS rebinding)."""
        if self.headers.get("Host", "").rsplit(":", 1)[0] in ("localhost", "127.0.0.1"):
            return super().send_head()
        return self.send_error(403, "Open it by localhost")

    def log_message(self, *words) -> None:
        """Nobody reads a line per file."""


def main(*, folder: Path, port: int) -> None:
    """Serve until Ctrl-C, to this computer alone.

    Args:
        folder: what is shown.
        port: 0: any that is free.
    """
    with open_server(folder, port) as server:
        at = f"http://localhost:{server.server_port}/"
        pages = sorted(path.name for path in folder.glob("*.html"))
        print(
            "\n".join([f"{at}{name}" for name in pages] or [f"{at} (no page yet; `make demo` makes one)"]), flush=True
        )
        server.serve_forever()


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `make demo` makes results/")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(Isolated, directory=folder))
    except OSError as error:
        raise InputError(f"port {port} cannot be used ({error.strerror}); choose another one by --port") from None


if __name__ == "__main__":
    run(main)
