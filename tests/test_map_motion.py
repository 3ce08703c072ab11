import csv

import numpy as np
import pytest

from pipeline import map_motion, stores
from pipeline.errors import InputError
from tests.stores_for_tests import face_of


@pytest.fixture
def write(tmp_path):
    def write(name: str, away: float = 0.0, **changes):
        face = face_of(60, **changes)
        shifted = face_of(60, expression=face.expression + np.float32(away), **changes)
        stores.write_face(tmp_path / f"{name}.h5", shifted)
        return tmp_path / f"{name}.h5"

    return write


def mapped(tmp_path, **stores_of) -> dict[tuple[str, str], float]:
    out = {"csv": tmp_path / "figure.csv", "picture": tmp_path / "figure.png"}
    map_motion.main(**stores_of, **out, held_out=0.2)
    assert out["picture"].stat().st_size > 5000
    return {(row["part"], row["cloud"]): float(row["distance"]) for row in csv.DictReader(out["csv"].open())}


def test_motion_further_from_the_targets_is_further_away(tmp_path, write):
    found = mapped(tmp_path, face=write("own"), stage1=write("far", 5), stage2=write("near", 0.5))
    assert found["expression", "performing"] == 0
    assert found["expression", "Stage I"] > 3 * found["expression", "Stage II"] > 0


def test_a_result_without_a_face_is_named(tmp_path, write):
    blind = write("blind", valid=np.zeros(60, bool))
    with pytest.raises(InputError, match=r"blind\.h5: only 0 frames show a face"):
        mapped(tmp_path, face=write("own"), stage1=blind, stage2=write("near"))
