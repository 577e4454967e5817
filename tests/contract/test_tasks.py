"""Every entry of TASKS: runs to its end on every kind of encoder with a dozen studies, and can be
scored again.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from place_cxr.core.results import Result
from place_cxr.tasks import TASKS
from place_cxr.tasks.engine import (
    FractionsAndSeeds,
    ModelOrigin,
    make_task,
    recompute_metrics,
    run_task,
)
from place_cxr.tasks.predictions import Predictions
from place_cxr.tasks.task import PROFILES, HeadTask
from tests import heads

_BRIEF = ("steps=2", "batch_size=4", "checks=1")
_SHORT = {"report-generation": ("decoder.max_tokens=12", "decoder.layers=1", "decoder.width=32")}


@pytest.fixture(scope="module")
def studies(phantom: Path):
    return heads.dozen(phantom)


def brief(name: str, *more: str) -> tuple[str, ...]:
    return (*(_BRIEF if issubclass(TASKS[name], HeadTask) else ()), *_SHORT.get(name, ()), *more)


@pytest.mark.parametrize("kind", heads.IMAGES)
@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_on_an_encoder(name: str, kind: str, studies, tmp_path: Path) -> None:
    began = time.perf_counter()
    task = make_task(name, studies.studies, brief(name))
    model = heads.model(kind)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = run_task(
        task, model, studies, tmp_path, FractionsAndSeeds((1.0,), (0,)), origin=ModelOrigin("m")
    )
    assert time.perf_counter() - began < 20
    assert all((model.state_dict()[key] == value).all() for key, value in before.items())
    folder = tmp_path / name / "phantom"
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.parquet", "result.json"]
    assert Result.read(folder) == result
    assert recompute_metrics(folder) == dict(result.metrics)
    for metric, value in result.metrics.items():
        assert len(metric.split("/", 2)) == 3
        assert value.value is not None or value.reason
    assert "strict" in result.signature and result.metrics
    table = Predictions.read(folder).table
    assert set(table.column_names) >= {
        "fraction",
        "seed",
        "split",
        "row",
        "patient",
        "sex",
        "age",
        "view",
        "site",
    }
    ids = {study.patient for study in studies.studies} | {study.id for study in studies.studies}
    words = {
        str(value)
        for name in table.column_names
        if "string" in str(table.schema.field(name).type)
        for value in table[name].to_pylist()
    }
    assert words and not words & ids and max(map(len, words)) < 20  # no id, no report


OTHERS = [(profile, mode) for profile in PROFILES for mode in ("frozen", "finetune")][1:]
HEADS = [name for name, kind in TASKS.items() if issubclass(kind, HeadTask)]
CASES = [
    *((name, "CNN", profile, mode) for name in HEADS for profile, mode in OTHERS),
    *(
        (name, "ViT", "mgca", "frozen") for name in HEADS
    ),  # batch statistics that move, the other dense heads
    *((name, "ViT", "strict", "finetune") for name in HEADS),
    *(
        (name, "CNN", profile, "frozen")
        for name in set(TASKS) - set(HEADS)
        for profile in list(PROFILES)[1:]
    ),
]


@pytest.mark.parametrize(("name", "kind", "profile", "mode"), sorted(CASES))
def test_profiles_and_modes_have_tables_of_their_own(
    name: str, kind: str, profile: str, mode: str, studies, tmp_path: Path
) -> None:
    more = ("epochs=1",) if profile == "mgca" and name in HEADS else ()
    task = make_task(name, studies.studies, brief(name, *more), profile=profile, mode=mode)
    result = run_task(
        task,
        heads.model(kind),
        studies,
        tmp_path,
        FractionsAndSeeds((1.0,), (0,)),
        origin=ModelOrigin("m"),
    )
    assert result.task != name and profile in result.signature
    folder = tmp_path / result.task / "phantom"
    assert (folder / "result.json").is_file() and recompute_metrics(folder) == dict(result.metrics)
