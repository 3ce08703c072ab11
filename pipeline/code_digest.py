"""A digest of the code behind a step: what makes Snakemake run a step again when its code has really changed.

The syntax tree of the module and of everything it imports from this repository is hashed, without comments and
docstrings, so explaining a line re-runs nothing. Nor does changing how a step shows that it is at work.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGES = ("pipeline", "models")
DATA = {"models.face_parameters": "models/face_reference.npy"}  # what a module computes with, beside its code
SHOWING = ("pipeline.progress", "pipeline.preview")  # what is learned and rendered is the same without them
ROOT = Path(__file__).parent.parent


def code_digest(module: str) -> str:
    """Hexadecimal digest of `module` ("pipeline.crop") and of all it imports from `pipeline` and `models`."""
    digest = hashlib.sha256()
    for name, source in sorted(sources_behind(module).items()):
        digest.update(name.encode() + parsed(source)[0])
        if name in DATA:
            digest.update((ROOT / DATA[name]).read_bytes())
    return digest.hexdigest()[:16]


def sources_behind(module: str) -> dict[str, str]:
    """Name and text of a module and all it imports here but `SHOWING`; absolute imports only, as everywhere."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = source_of(name).read_text()
            waiting += [i for i in parsed(found[name])[1] if i not in SHOWING and source_of(i)]
    return found


@cache  # steps share most of their modules
def parsed(source: str) -> tuple[bytes, list[str]]:
    """A module's syntax tree without docstrings, as text, and the names that it imports."""
    tree = ast.parse(source)
    return ast.dump(without_docstrings(tree)).encode(), imports_of(tree)


def source_of(module: str) -> Path | None:
    """The module's file in this repository, or None for foreign ones and for names inside a module."""
    path = ROOT / Path(*module.split("."))
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return next((c for c in candidates if c.exists()), None) if module.split(".")[0] in PACKAGES else None


def imports_of(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return tree
