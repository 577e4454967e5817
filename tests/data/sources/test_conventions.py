"""Conventional splits: equal to scikit-learn's and to the published scripts', on tables of the true
length.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.sources import SOURCES
from place_cxr.data.sources.conventions import (
    PUBLISHED_SIZES,
    sample_positions,
    shuffle_split,
    size_problems,
    split_by_lists,
    stratified_parts,
    three_parts,
)


def sizes(parts: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    return tuple(len(parts[name]) for name in ("train", "val", "test"))


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 5))
def test_shuffle_split_is_scikit_learns(rows: int, share: float, seed: int) -> None:
    try:
        expected = train_test_split(np.arange(rows), test_size=share, random_state=seed)
    except ValueError:
        with pytest.raises(PlaceError):
            shuffle_split(rows, share, seed)
    else:
        assert [part.tolist() for part in shuffle_split(rows, share, seed)] == [
            part.tolist() for part in expected
        ]


def test_sizes_on_tables_of_the_true_length() -> None:
    assert sizes(three_parts(26_684, 0.15 * 2)) == PUBLISHED_SIZES["rsna", "mgca"]
    assert sizes(three_parts(26_684, 5_337 * 2)) == PUBLISHED_SIZES["rsna", "mgca_detection"]
    assert sizes(three_parts(12_954, 0.15 * 2)) == (9_067, 1_944, 1_943)
    assert sizes(stratified_parts([1] * 6_012 + [0] * 20_672)) == PUBLISHED_SIZES["rsna", "benchx"]
    assert [len(part) for part in shuffle_split(8_000, 0.1, 0)] == [7_200, 800]
    assert [len(part) for part in shuffle_split(30_130, 30_130 - int(0.8 * 30_130), 0)] == [
        24_104,
        6_026,
    ]
    assert [len(part) for part in shuffle_split(15_000, 0.2, 0)] == [12_000, 3_000]


def test_stratified_parts_are_disjoint_and_in_proportion() -> None:
    classes = np.array([1] * 60 + [0] * 140)
    parts = stratified_parts(classes)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    assert {name: int(classes[rows].sum()) for name, rows in parts.items()} == {
        "train": 42,
        "val": 9,
        "test": 9,
    }
    with pytest.raises(PlaceError):
        stratified_parts([1, 0, 0])


def test_sample_is_numpys_choice() -> None:
    np.random.seed(0)
    assert (
        sample_positions(50, 20, np.random.RandomState(0)).tolist()
        == np.random.choice(50, 20, replace=False).tolist()
    )
    with pytest.raises(PlaceError) as refused:
        sample_positions(3, 4, np.random.RandomState(0))
    assert refused.value.code == "PL-D231"


def as_told(oracle: dict, ids: Sequence[str]) -> bool:
    digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return (len(ids), digest) == (oracle["count"], oracle["sha256_of_ids_joined_by_newline"])


def test_rsna_draws_as_the_published_script(test_data: Path) -> None:
    oracle = json.loads((test_data / "oracles" / "mgca_splits.json").read_text())
    names = sorted(oracle["rsna_classification"]["patient_ids_in_file_order"])
    for part, rows in three_parts(len(names), 0.15 * 2).items():
        assert [names[row] for row in rows] == oracle["rsna_classification"][
            "valid" if part == "val" else part
        ]
    for part, rows in three_parts(26_684, 5_337 * 2).items():
        told = oracle["rsna_detection"]["valid" if part == "val" else part]
        assert as_told(told, [f"study{row:06d}" for row in rows])


def studies() -> list[Study]:
    names = ("1.2.276.1", "1.2.276.2", "00000001_000", "00000002_000", "plain")
    ends = (".dcm", ".dcm", ".png", ".png", ".jpg")
    files = [name + end for name, end in zip(names, ends, strict=True)]
    return [
        Study(id=f"s{row}", image=Path("a") / file, report="") for row, file in enumerate(files)
    ]


def test_lists_name_images_by_id_name_stem_or_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train.txt").write_text("1.2.276.1\n\n00000001_000.png 0 1 0\nlost_000.png\n")
    (tmp_path / "test.txt").write_text("\ufeffdata/images/plain.jpg,1\ns3\n", "utf-8")
    with caplog.at_level(logging.WARNING):
        found = split_by_lists(
            studies(), {"train": tmp_path / "train.txt", "test": tmp_path / "test.txt"}
        )
    assert [(study.id, study.split) for study in found] == [
        ("s0", "train"),
        ("s2", "train"),
        ("s4", "test"),
        ("s3", "test"),
    ]
    assert "1 of 3 lines" in caplog.text and "lost_000" not in caplog.text


@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"train": "nowhere.txt"}, "cannot be read"),
        ({"valid": "a.txt"}, "a list for split 'valid'"),
        ({"train": "other.txt"}, "names an image"),
        ({"train": "a.txt", "test": "a.txt"}, "in the lists of train and test"),
        ({"train": "empty.txt"}, "none of its 0 lines"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path: Path, lists: dict[str, str], says: str) -> None:
    (tmp_path / "a.txt").write_text("plain\n")
    (tmp_path / "other.txt").write_text("stranger\n")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(PlaceError, match=says) as refused:
        split_by_lists(studies(), {split: tmp_path / name for split, name in lists.items()})
    assert refused.value.code == "PL-D232"
    assert "stranger" not in str(refused.value)


def test_size_faults_name_the_parts_that_differ() -> None:
    found = [Study("a", Path("a"), "", split="test")] * 1_000
    assert size_problems("chexpert", "5x200", found) == []
    assert size_problems("chexpert", "5x200", found[:-1]) == ["test: 999, published 1000"]
    assert size_problems("chexpert", "nothing published", found) == []
    for source, split in PUBLISHED_SIZES:
        assert split in SOURCES[source].splits
        wanted = Counter(
            dict(zip(("train", "val", "test"), PUBLISHED_SIZES[source, split], strict=True))
        )
        assert len(size_problems(source, split, [])) == sum(
            size is not None for size in wanted.values()
        )
