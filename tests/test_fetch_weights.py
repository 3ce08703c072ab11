"""Downloads from a real server on this machine that can be made to fail in every way that matters."""

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pipeline import fetch_weights, manifest
from pipeline.errors import InputError

ROOT = Path(__file__).parent.parent
CONTENT = np.random.default_rng(0).bytes(1_000_000)
OTHER = np.random.default_rng(1).bytes(1_000_000)
PAGE = b"\n<!DOCTYPE html><html><head><title>Quota\n exceeded</title></head></html>"
RIGHT = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Request(BaseHTTPRequestHandler):
    """Serves `server.files`: path -> content, unless `server.acts` has a function for the path's next request."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        acts = self.server.acts.get(self.path, [])
        content = self.server.files.get(self.path)
        (acts.pop(0) if acts else Request.ranged if content is not None else Request.error(404))(self, content)

    def ranged(self, content: bytes, end: int | None = None, tag: str | None = None):
        """Send the content, or its rest where that is asked for; only up to `end`."""
        tag = f'"{hashlib.sha256(content).hexdigest()}"' if tag is None else tag
        start = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        if self.headers.get("If-Range", tag) != tag:
            start = 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if tag:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.put(content[start:end])

    def put(self, data: bytes):
        self.wfile.write(data)
        self.server.sent += len(data)

    @staticmethod
    def error(status: int) -> Callable:
        return lambda request, content: request.send_error(status)

    @staticmethod
    def until(end: int) -> Callable:
        """Break off before this byte."""
        return lambda request, content: request.ranged(content, end)

    @staticmethod
    def anonymous(end: int | None = None) -> Callable:
        """Send no tag."""
        return lambda request, content: request.ranged(content, end, tag="")

    def blind(self, content: bytes):
        """Send the rest of whatever there is now, as a server does that knows Range but not If-Range."""
        del self.headers["If-Range"]
        self.ranged(content)

    def piece(self, content: bytes):
        """Send some of the rest, as a server may."""
        start = int(self.headers["Range"][len("bytes=") : -1])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + 149_999}/{len(content)}")
        self.send_header("Content-Length", "150000")
        self.end_headers()
        self.put(content[start : start + 150_000])

    def shifted(self, content: bytes):
        """Send less than was asked for."""
        self.headers.replace_header("Range", "bytes=700000-")
        self.ranged(content)

    def whole(self, content: bytes, end: int | None = None):
        """Ignore Range, as old servers do."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.put(content[:end])

    def page(self, content: bytes):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.put(PAGE)

    def stall(self, content: bytes):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.put(content[:300_000])
        self.wfile.flush()
        time.sleep(1)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    server.daemon_threads, server.block_on_close = True, False
    server.files, server.acts, server.seen, server.sent = {"/net.pth": CONTENT}, {}, [], 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch_weights, "WAITS", (0.01, 0.02))
    monkeypatch.setattr(fetch_weights, "TIMEOUT", 5)


@pytest.fixture
def listed(tmp_path, monkeypatch, server) -> Callable:
    """Write a manifest of networks, each one a file <name>.pth."""
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "weights.yaml")

    def write(**networks: dict) -> None:
        common = {"what": "a network", "licence": "MIT", "page": "https://example.org/page", "needed_by": ["crop"]}
        entries = {}
        for name, fields in networks.items():
            sources = [{"url": f"{server.url}/{name}.pth"}]
            entries[name] = common | {"file": f"{name}.pth", "digest": RIGHT, "sources": sources} | fields
        (tmp_path / "weights.yaml").write_text(json.dumps(entries))  # JSON is YAML

    write(net={})
    return write


@pytest.fixture
def folder(tmp_path, listed) -> Path:
    return tmp_path / "weights"


def fetch(folder: Path, *only: str, mirror: str = "") -> None:
    fetch_weights.main(folder=folder, mirror=mirror, only=list(only))


def there(folder: Path) -> list[str]:
    """Names in the folder, without the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".fetching")


def test_a_file_arrives_whole_under_its_name_and_nothing_is_left_beside_it(server, folder, capsys):
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert there(folder) == ["net.pth"]
    assert re.search(r"^net +net\.pth +fetched, the published file$", capsys.readouterr().out, re.MULTILINE)


def test_a_broken_connection_is_taken_up_where_it_broke(server, folder):
    server.acts["/net.pth"] = [Request.until(400_000), Request.until(700_000)]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert server.sent < len(CONTENT) + 2 * fetch_weights.CHUNK
    assert len(server.seen) == 3


def test_progress_gives_new_attempts(server, folder):
    server.acts["/net.pth"] = [Request.until(end) for end in range(100_000, 900_000, 100_000)]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT


def test_the_next_run_goes_on_with_what_the_last_one_left(server, folder):
    server.acts["/net.pth"] = [Request.until(600_000), *[Request.error(503)] * 3]
    with pytest.raises(InputError):
        fetch(folder)
    assert not (folder / "net.pth").exists() and list(folder.glob("net.pth.*.part"))
    server.sent = 0
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and there(folder) == ["net.pth"]
    assert server.sent < 400_000 + fetch_weights.CHUNK


def test_a_download_stopped_after_its_last_byte_is_not_asked_for_again(server, folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fetch_weights, "prove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch(folder)
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and len(server.seen) == 1


def test_a_server_that_ignores_ranges_starts_over(server, folder):
    server.acts["/net.pth"] = [Request.until(600_000), Request.whole]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert server.seen[1][1].startswith("bytes=") and server.sent == 600_000 + len(CONTENT)


@pytest.mark.parametrize("length", [len(OTHER), 900_000])
@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range is obeyed", "If-Range is ignored"])
def test_two_versions_are_never_mixed(server, folder, listed, obeys, length):
    listed(net={"digest": "unknown"})
    server.acts["/net.pth"] = [Request.until(600_000), *[Request.error(503)] * 3]
    with pytest.raises(InputError):
        fetch(folder)
    server.files["/net.pth"], server.seen[:] = OTHER[:length], []
    server.acts["/net.pth"] = [] if obeys else [Request.blind]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == OTHER[:length]
    assert len(server.seen) == (1 if obeys else 2)


def test_without_a_tag_the_length_tells_versions_apart(server, folder, listed):
    listed(net={"digest": "unknown"})
    server.acts["/net.pth"] = [Request.anonymous(600_000), *[Request.error(503)] * 3]
    with pytest.raises(InputError):
        fetch(folder)
    server.files["/net.pth"] = OTHER[:900_000]
    server.acts["/net.pth"] = [Request.anonymous(), Request.anonymous()]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == OTHER[:900_000]


def test_a_server_without_tags_is_continued_too(server, folder):
    server.acts["/net.pth"] = [Request.anonymous(600_000), Request.anonymous()]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and server.sent < len(CONTENT) + fetch_weights.CHUNK


def test_a_server_that_sends_the_rest_in_pieces_is_asked_for_each(server, folder):
    server.acts["/net.pth"] = [Request.until(200_000), Request.piece, Request.piece, Request.piece]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and len(server.seen) == 5


def test_a_rest_from_another_place_is_not_appended(server, folder):
    server.acts["/net.pth"] = [Request.until(600_000), Request.shifted]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT


def test_a_version_shorter_than_the_part_starts_over(server, folder, listed):
    listed(net={"digest": "unknown"})
    server.acts["/net.pth"] = [Request.until(600_000), Request.error(416)]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT


def test_a_part_of_an_unknown_version_is_dropped(server, folder):
    server.acts["/net.pth"] = [Request.until(600_000), *[Request.error(503)] * 3]
    with pytest.raises(InputError):
        fetch(folder)
    next(folder.glob("net.pth.*.json")).write_text("{")
    fetch(folder)
    assert server.seen[-1][1] is None and (folder / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_busy_server_is_asked_again(server, folder, status):
    server.acts["/net.pth"] = [Request.error(status), Request.error(status)]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and len(server.seen) == 3


def test_a_server_that_stalls_is_asked_again(server, folder, monkeypatch, capsys):
    monkeypatch.setattr(fetch_weights, "TIMEOUT", 0.2)
    server.acts["/net.pth"] = [Request.stall]
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT
    assert "/net.pth: timed out; again in 0.01 s" in capsys.readouterr().out


def test_a_host_that_stays_away_is_given_up(server, folder, listed, capsys):
    listed(net={"sources": [{"url": "http://127.0.0.1:1/net.pth"}]})
    with pytest.raises(InputError):
        fetch(folder)
    assert re.search(r"failed: http://127\.0\.0\.1:1/net\.pth: .*Connection refused; get it", capsys.readouterr().out)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_dead_link_fails_at_once_and_names_the_page(server, folder, status, capsys):
    server.acts["/net.pth"] = [Request.error(status)]
    with pytest.raises(InputError, match="not fetched: net;"):
        fetch(folder)
    assert len(server.seen) == 1 and there(folder) == []
    said = capsys.readouterr().out
    for word in (f"HTTP {status}", "https://example.org/page", f"save it as {folder / 'net.pth'}"):
        assert word in said


def test_wrong_bytes_are_refused_by_name(server, folder, capsys):
    server.files["/net.pth"] = OTHER
    with pytest.raises(InputError):
        fetch(folder)
    assert there(folder) == []
    own = hashlib.sha256(OTHER).hexdigest()[:8]
    assert f"{server.url}/net.pth: sent a file that is not the published file (sha256 begins {own}, published " in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("digest", [RIGHT, "unknown"])
def test_a_web_page_is_no_file(server, folder, listed, digest, capsys):
    listed(net={"digest": digest})
    server.acts["/net.pth"] = [Request.page]
    with pytest.raises(InputError):
        fetch(folder)
    assert there(folder) == []
    assert "net.pth: sent a web page (Quota exceeded) instead of the file" in capsys.readouterr().out


def test_a_web_page_does_not_cost_what_was_downloaded_before_it(server, folder):
    server.acts["/net.pth"] = [Request.until(600_000), Request.page]
    with pytest.raises(InputError):
        fetch(folder)
    server.sent = 0
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and server.sent < 400_000 + fetch_weights.CHUNK


def test_the_mirror_is_asked_first(server, folder):
    server.files["/mirror/net.pth"] = CONTENT
    fetch(folder, mirror=f"{server.url}/mirror/")
    assert [path for path, _ in server.seen] == ["/mirror/net.pth"]


@pytest.mark.parametrize("content", [None, OTHER, PAGE], ids=["nothing", "other bytes", "a page"])
def test_the_published_place_follows_a_mirror_that_fails(server, folder, content):
    server.files |= {"/mirror/net.pth": content} if content else {}
    fetch(folder, mirror=f"{server.url}/mirror")
    assert [path for path, _ in server.seen] == ["/mirror/net.pth", "/net.pth"]
    assert (folder / "net.pth").read_bytes() == CONTENT and there(folder) == ["net.pth"]


def test_what_a_mirror_sent_is_not_continued_elsewhere(server, folder):
    server.files["/mirror/net.pth"] = CONTENT
    server.acts["/mirror/net.pth"] = [Request.until(600_000), *[Request.error(503)] * 3]
    fetch(folder, mirror=f"{server.url}/mirror")
    assert server.seen[-1] == ("/net.pth", None) and there(folder) == ["net.pth"]


def test_only_the_web_is_a_mirror(folder, tmp_path):
    (tmp_path / "net.pth").write_bytes(CONTENT)
    with pytest.raises(InputError, match=r"file://.*: a mirror is"):
        fetch(folder, mirror=f"file://{tmp_path}")


def test_no_other_scheme_is_followed(server, folder, tmp_path, capsys):
    def elsewhere(request: Request, content: bytes) -> None:
        request.send_response(302)
        request.send_header("Location", f"file://{tmp_path}/secret")
        request.send_header("Content-Length", "0")
        request.end_headers()

    (tmp_path / "secret").write_bytes(CONTENT)
    server.acts["/net.pth"] = [elsewhere]
    with pytest.raises(InputError):
        fetch(folder)
    assert there(folder) == [] and len(server.seen) == 1


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes | str]) -> bytes:
    """A .tar.gz; a string is a link to what it names."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def packed(server, listed) -> Callable:
    """Offer the network inside an archive only."""

    def offer(archive: bytes) -> None:
        server.files["/archive"] = archive
        listed(net={"sources": [{"url": f"{server.url}/archive", "member": "graph.pb"}]})

    return offer


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_the_named_member_is_taken_out_of_an_archive(packed, folder, pack):
    packed(pack({"models/large.bin": OTHER, "models/graph.pb": CONTENT}))
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and there(folder) == ["net.pth"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_writes_to_no_path_of_its_own(packed, folder, pack, tmp_path):
    packed(pack({"../evil.txt": b"evil", f"{tmp_path}/evil.txt": b"evil", "../../graph.pb": CONTENT}))
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT and there(folder) == ["net.pth"]
    assert not list(tmp_path.rglob("evil.txt")) + list(tmp_path.rglob("graph.pb"))
    assert not (tmp_path.parent / "evil.txt").exists() and not (tmp_path.parent / "graph.pb").exists()


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (zipped({"models/other.pb": CONTENT}), "an archive without graph.pb;"),
        (tarred({"models/other.pb": CONTENT}), "an archive without graph.pb;"),
        (tarred({"graph.pb": "/etc/hostname"}), "an archive without graph.pb;"),
        (tarred({"graph.pb": CONTENT})[:-200_000], "no archive that can be read (Compressed file ended "),
        (zipped({"graph.pb": CONTENT})[:-200_000], "no archive that can be read ("),
        (b"no archive at all" * 1000, "no archive that can be read ("),
    ],
    ids=["zip without it", "tar without it", "a link", "half a tar", "half a zip", "no archive"],
)
def test_an_archive_without_the_file_is_refused_by_name(packed, folder, archive, said, capsys):
    packed(archive)
    with pytest.raises(InputError):
        fetch(folder)
    assert there(folder) == []
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and f"/archive: sent {said}" in lines[0]


def test_wrong_bytes_in_an_archive_are_refused(packed, folder, capsys):
    packed(zipped({"graph.pb": OTHER}))
    with pytest.raises(InputError):
        fetch(folder)
    assert there(folder) == [] and "/archive: sent a file that is not the published" in capsys.readouterr().out


def test_the_second_source_follows_the_first(server, folder, listed):
    server.files["/archive"] = tarred({"graph.pb": CONTENT})
    urls = [{"url": f"{server.url}/gone.zip", "member": "x"}, {"url": f"{server.url}/archive", "member": "graph.pb"}]
    listed(net={"sources": urls})
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "digest", "said"),
    [
        (CONTENT, RIGHT, "there, the published file"),
        (OTHER, RIGHT, "there, not the published file (sha256 begins"),
        (OTHER, "unknown", "there, no published digest to compare with"),
    ],
)
def test_a_file_placed_by_hand_is_kept_and_judged(server, folder, listed, capsys, content, digest, said):
    listed(net={"digest": digest})
    folder.mkdir()
    (folder / "net.pth").write_bytes(content)
    fetch(folder)
    assert (folder / "net.pth").read_bytes() == content and server.seen == []
    assert list(folder.iterdir()) == [folder / "net.pth"]  # nothing needs to be written
    assert said in capsys.readouterr().out


def test_one_dead_host_does_not_stop_the_others(server, folder, listed, capsys):
    listed(gone={}, net={}, person={"sources": []}, mesh={"sources": [], "fetched_by": "fetch_face_mesh"})
    with pytest.raises(InputError) as error:
        fetch(folder)
    assert "not fetched: gone;" in str(error.value) and "\n" not in str(error.value)
    assert there(folder) == ["net.pth"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["gone", "net", "person"]
    by_hand = f"by hand: get it from https://example.org/page and save it as {folder / 'person.pth'}"
    assert "failed: " in lines[0] and lines[2].endswith(by_hand)


def test_a_file_for_people_alone_is_an_error_only_when_asked_for(folder, listed):
    listed(person={"sources": []})
    fetch(folder)
    with pytest.raises(InputError, match="not fetched: person"):
        fetch(folder, "person")


def test_a_mirror_can_have_a_file_for_people(server, folder, listed):
    listed(person={"sources": []})
    server.files["/person.pth"] = CONTENT
    fetch(folder, mirror=server.url)
    assert there(folder) == ["person.pth"]


def test_only_the_named_networks_are_fetched(server, folder, listed):
    listed(net={}, second={})
    server.files["/second.pth"] = CONTENT
    fetch(folder, "second")
    assert there(folder) == ["second.pth"]


def test_a_name_that_is_not_listed_is_answered_with_those_that_are(folder):
    with pytest.raises(InputError, match=r"no network 'nett' in models/weights\.yaml, only net$"):
        fetch(folder, "nett")


def test_what_another_rule_makes_is_left_to_it(folder, listed):
    listed(mesh={"sources": [], "fetched_by": "fetch_face_mesh"})
    with pytest.raises(InputError, match=r"`snakemake --cores 1 .*/mesh\.pth` fetches it"):
        fetch(folder, "mesh")


def test_two_processes_do_not_download_the_same_file(server, folder):
    code = f"""if True:
        from pathlib import Path
        from pipeline import fetch_weights, manifest

        manifest.MANIFEST = Path({str(manifest.MANIFEST)!r})
        fetch_weights.main(folder=Path({str(folder)!r}), mirror="", only=[])"""
    server.acts["/net.pth"] = [slowly, slowly]
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    said = b"".join(process.communicate()[0] for process in both).decode()
    assert sorted(re.findall("fetched|there", said)) == ["fetched", "there"]
    assert server.sent == len(CONTENT)


def slowly(request: Request, content: bytes) -> None:
    time.sleep(1)
    request.ranged(content)


def test_the_command_line_ends_in_one_line_and_status_1(folder):
    words = ["--folder", str(folder), "--mirror", "file:///tmp", "--only"]
    command = [sys.executable, "-m", "pipeline.fetch_weights", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: file:///tmp: a mirror is")
    assert done.stderr.count("\n") == 1 and not folder.exists()
