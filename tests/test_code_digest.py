import pytest

from pipeline import code_digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A little package where pipeline.step imports pipeline.library."""
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("")
    (tmp_path / "pipeline" / "step.py").write_text('"""A step."""\nfrom pipeline import library\n\nx = library.f(1)\n')
    (tmp_path / "pipeline" / "library.py").write_text('def f(x):\n    """Add one."""\n    return x + 1\n')
    (tmp_path / "pipeline" / "other.py").write_text("y = 1\n")
    return tmp_path / "pipeline"


def rewrite(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [("step.py", "A step.", "The step."), ("library.py", "Add one.", "Plus one."), ("step.py", "x =", "# why\nx =")],
)
def test_an_edited_docstring_or_comment_changes_nothing(package, file, before, after):
    digest = code_digest.code_digest("pipeline.step")
    rewrite(package / file, before, after)
    assert code_digest.code_digest("pipeline.step") == digest


@pytest.mark.parametrize(("file", "before", "after"), [("step.py", "f(1)", "f(2)"), ("library.py", "x + 1", "x + 2")])
def test_edited_code_of_a_step_or_of_what_it_imports_changes_the_digest(package, file, before, after):
    digest = code_digest.code_digest("pipeline.step")
    rewrite(package / file, before, after)
    assert code_digest.code_digest("pipeline.step") != digest


def test_code_the_step_does_not_import_is_left_out(package):
    digest = code_digest.code_digest("pipeline.step")
    rewrite(package / "other.py", "y = 1", "y = 2")
    assert code_digest.code_digest("pipeline.step") == digest


def test_how_a_step_shows_its_progress_is_left_out(package, monkeypatch):
    monkeypatch.setattr(code_digest, "SHOWING", ("pipeline.library",))
    digest = code_digest.code_digest("pipeline.step")
    rewrite(package / "library.py", "x + 1", "x + 2")
    assert code_digest.code_digest("pipeline.step") == digest


def test_how_results_are_encoded_is_no_reason_to_prepare_a_clip_again():
    assert "pipeline.media" in code_digest.sources_behind("pipeline.crop")
    assert "pipeline.encoding" not in code_digest.sources_behind("pipeline.crop")


def test_data_that_a_module_computes_with_counts_as_its_code(package, monkeypatch):
    monkeypatch.setattr(code_digest, "DATA", {"pipeline.library": "pipeline/face.npy"})
    (package / "face.npy").write_bytes(b"one")
    digest = code_digest.code_digest("pipeline.step")
    (package / "face.npy").write_bytes(b"two")
    assert code_digest.code_digest("pipeline.step") != digest


def test_what_only_shows_is_there():
    for name in code_digest.SHOWING:
        assert code_digest.source_of(name) and name not in code_digest.sources_behind("pipeline.train_stage1")


def test_the_project_uses_absolute_imports_only():
    for folder in code_digest.PACKAGES:
        for path in (code_digest.ROOT / folder).glob("*.py"):
            assert "from ." not in path.read_text(), path
