"""Verify that a video is as it was written, and that what made it is still here: `python -m pipeline.verify VIDEO`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from tyro.conf import Positional

from pipeline.cli import run
from pipeline.code_digest import code_digest, source_of
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.media import digests
from pipeline.provenance import laid_over, part_digest, read


class Check(NamedTuple):
    """One thing that a video claims, and whether it still holds."""

    kind: str  # "input"
    name: str  # "work/portraits/Biden/video/stage2.pt"
    state: str  # "unchanged", "changed" or "missing"


def main(*, video: Positional[Path]) -> None:
    """Verify.

    Args:
        video: as MyPortrait wrote it; run this where it was made, the paths it names begin there.

    Raises:
        InputError: the video says nothing of how it was made, or something of it no longer holds.
    """
    record = read(video)
    print(f"{video}: synthetic, by {record['by']}")
    found = list(checks(video, record))
    for check in found:
        print(f"  {check.state:<10} {check.kind:<7} {check.name}")
    broken = [f"{check.kind} {check.name} {check.state}" for check in found if check.state != "unchanged"]
    if broken:
        raise InputError(f"{video}: no longer holds: {', '.join(broken)}; make it again, or get the original")


def checks(video: Path, record: dict) -> Iterator[Check]:
    """Hold all that a video's record claims against what is here; the video itself comes first."""
    stored, config = digests(video), configuration(record["config_files"])
    yield from held_against("video", dict.fromkeys(stored) | record["streams"], stored.get)
    yield from held_against("code", record["code"], lambda name: code_digest(name) if source_of(name) else None)
    yield from held_against("config", record["config"], lambda key: part_digest(config, key))
    yield from held_against("input", record["inputs"], lambda name: sha256(name) if Path(name).is_file() else None)


def held_against(kind: str, claimed: dict[str, str], here: Callable[[str], str | None]) -> Iterator[Check]:
    for name, digest in claimed.items():
        now = here(name)
        yield Check(kind, name, "missing" if now is None else "unchanged" if now == digest else "changed")


def configuration(files: list[str]) -> dict:
    """These files laid over each other; nothing where one of them is gone.

    Raises:
        InputError: one is no configuration.
    """
    config: dict = {}
    for path in map(Path, files):
        if not path.is_file():
            return {}
        try:
            config = laid_over(config, yaml.safe_load(path.read_text()) or {})
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a configuration ({error}); mend it") from None
    return config


if __name__ == "__main__":
    run(main)
