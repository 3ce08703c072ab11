import hashlib
import re
from pathlib import Path

import pytest

from pipeline import manifest
from pipeline.errors import InputError
from pipeline.fetch_face_mesh import DETECTOR, MESH, SHA256
from pipeline.manifest import NETWORKS, find, how_to_get, licences, read_manifest

ROOT = Path(__file__).parent.parent
NAMES = "face_mesh face_detector deca s3fd fan gaze360 deepspeech vgg19 alexnet inception arcface"


@pytest.fixture
def listed(tmp_path, monkeypatch) -> dict[str, bytes]:
    """A manifest of networks with known content; two digests, an unknown one."""
    contents = {"old": b"old network", "new": b"new network", "free": b"free network"}
    digests = {
        "old": f"sha1:{hashlib.sha1(contents['old']).hexdigest()}",
        "new": f"sha256:{hashlib.sha256(contents['new']).hexdigest()}",
        "free": "unknown",
    }
    common = "what: a network, licence: MIT, sources: [], page: https://example.org/page, needed_by: [crop]"
    lines = [f"{name}: {{file: {name}.pth, digest: '{digest}', {common}}}" for name, digest in digests.items()]
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "weights.yaml")
    (tmp_path / "weights.yaml").write_text("\n".join(lines))
    return contents


def test_every_network_of_the_project_is_listed_once():
    entries = read_manifest()
    assert list(entries) == NAMES.split()
    assert len({entry.file for entry in entries.values()}) == len(entries)


def test_every_entry_can_be_got_and_says_whose_it_is():
    for name, entry in read_manifest().items():
        urls = [entry.page, *(source.url for source in entry.sources)]
        assert all(re.match(r"https?://\w", url) for url in urls), name
        assert entry.what and entry.licence, name
        assert re.fullmatch("unknown|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}", entry.digest), name
        assert "/" not in entry.file, name


def test_the_digest_begins_as_the_authors_named_the_file():
    entries = read_manifest()
    named = ("s3fd", "fan", "deepspeech", "vgg19", "alexnet", "inception")
    for name in named:
        stated = re.search(r"-([0-9a-f]{8,10})\.", entries[name].file)[1]
        assert entries[name].digest.split(":")[1].startswith(stated), name


def test_the_face_mesh_has_the_digests_of_its_own_step():
    entries = read_manifest()
    for name, member in (("face_mesh", MESH), ("face_detector", DETECTOR)):
        assert entries[name].file == Path(member).name
        assert entries[name].digest == f"sha256:{SHA256[member]}"


def test_entries_name_rules_there_are():
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    for name, entry in read_manifest().items():
        assert entry.needed_by and {*entry.needed_by, entry.fetched_by} <= rules, name


@pytest.mark.parametrize("name", ["old", "new", "free"])
def test_a_published_file_is_found_without_a_word(listed, tmp_path, capsys, name):
    (tmp_path / f"{name}.pth").write_bytes(listed[name])
    assert find(name, tmp_path) == tmp_path / f"{name}.pth"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "algorithm"), [("old", "sha1"), ("new", "sha256")])
def test_another_file_is_found_too_but_named(listed, tmp_path, capsys, name, algorithm):
    path = tmp_path / f"{name}.pth"
    path.write_bytes(b"trained further")
    assert find(name, tmp_path) == path
    own, published = (hashlib.new(algorithm, content).hexdigest()[:8] for content in (b"trained further", listed[name]))
    said = f"{path}: not the published file ({algorithm} begins {own}, published {published}); used as it is\n"
    assert capsys.readouterr().out == said


def test_a_missing_file_says_what_it_is_and_how_to_get_it(tmp_path):
    for name, entry in read_manifest().items():
        with pytest.raises(InputError) as error:
            find(name, tmp_path)
        line = str(error.value)
        assert "\n" not in line and line == how_to_get(name, tmp_path)
        for word in (str(tmp_path / entry.file), entry.what, entry.licence):
            assert word in line, name


def test_a_missing_file_is_fetched_by_the_rule_that_makes_it_or_by_hand(tmp_path):
    assert f"`snakemake --cores 1 {tmp_path}/face_landmark_with_attention.tflite`" in how_to_get("face_mesh", tmp_path)
    assert "`snakemake weights` fetches it" in how_to_get("deca", tmp_path)
    by_hand = how_to_get("arcface", tmp_path)
    assert "snakemake" not in by_hand and read_manifest()["arcface"].page in by_hand


def test_a_folder_with_the_files_name_is_no_file(tmp_path):
    (tmp_path / "deca_model.tar").mkdir()
    with pytest.raises(InputError, match="missing"):
        find("deca", tmp_path)


def test_every_component_has_its_networks_and_their_licences():
    assert {name for names in NETWORKS.values() for name in names} | {"arcface"} == set(read_manifest())
    assert licences(["deca", "log_mel"])["deca_model.tar"] == "non-commercial research"
