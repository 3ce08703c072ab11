"""The page's server."""

import threading
import urllib.error
import urllib.request

import pytest

from pipeline.errors import InputError
from pipeline.serve import open_server


def test_pages_come_with_the_headers_that_threads_need(tmp_path):
    (tmp_path / "a.html").write_text("hello")
    with open_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/a.html") as answer:
            assert answer.read() == b"hello"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        server.shutdown()


def test_only_this_computer_is_served(tmp_path):
    with open_server(tmp_path, 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_another_sites_name_for_this_computer_gets_nothing(tmp_path):
    (tmp_path / "a.html").write_text("hello")
    with open_server(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asked = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/a.html", headers={"Host": "other.org"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(asked)
        server.shutdown()


def test_a_port_in_use_and_a_missing_folder_are_said_in_one_line(tmp_path):
    with open_server(tmp_path, 0) as server, pytest.raises(InputError, match="choose another one"):
        open_server(tmp_path, server.server_port)
    with pytest.raises(InputError, match="no such folder"):
        open_server(tmp_path / "none", 0)
