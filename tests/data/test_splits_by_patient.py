"""Splits by patient: row S7 of the fault catalogue."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.splits.by_patient import check_splits, hash_splits, split_by_patient


def studies(patients: int, each: int = 3) -> list[Study]:
    return [
        Study(id=f"s{p}-{n}", image=Path(f"{p}-{n}.png"), report="", patient=f"p{p}")
        for n in range(each)
        for p in range(patients)
    ]


def refusal(rows: list[Study]) -> str:
    with pytest.raises(PlaceError) as error:
        check_splits(rows)
    assert error.value.code == "PL-D207"
    return str(error.value)


@pytest.mark.fault("S7")
@given(st.integers(0, 2**32), st.lists(st.integers(0, 40), min_size=60, max_size=200))
def test_any_split_is_disjoint_by_patient(seed: int, patients: list[int]) -> None:
    rows = [
        Study(id=str(n), image=Path(f"{n}.png"), report="", patient=f"p{p}")
        for n, p in enumerate(patients)
    ]
    try:
        split = split_by_patient(rows, seed, (0.5, 0.25, 0.25))
    except PlaceError as error:
        assert "falls into" in str(error)
        return
    check_splits(split)
    by_split = [
        {study.patient for study in split if study.split == name}
        for name in ("train", "val", "test")
    ]
    assert sum(map(len, by_split)) == len(set(patients))
    assert [replace(study, split="") for study in split] == rows


@pytest.mark.fault("S7")
def test_shares_and_seed() -> None:
    rows = studies(2000, 1)
    first = split_by_patient(rows, 1)
    counts = Counter(study.split for study in first)
    assert (
        abs(counts["train"] - 1600) < 80
        and abs(counts["val"] - 200) < 60
        and abs(counts["test"] - 200) < 60
    )
    assert first == split_by_patient(rows, 1)
    assert first != split_by_patient(rows, 2)
    none = split_by_patient(rows, 1, (0.9, 0.0, 0.1))
    assert {study.split for study in none} == {"train", "test"}
    assert {study.split for study in split_by_patient(rows, 1, (1.0, 0.0, 0.0))} == {"train"}


@pytest.mark.fault("S7")
def test_a_patient_stays_where_it_was_when_others_come() -> None:
    few = {study.patient: study.split for study in split_by_patient(studies(300), 7)}
    many = {
        study.patient: study.split for study in split_by_patient(list(reversed(studies(900))), 7)
    }
    assert all(many[patient] == split for patient, split in few.items())


@pytest.mark.fault("S7")
def test_without_patients_a_study_stays_together() -> None:
    views = [
        replace(study, patient="", id=f"s{n % 100}", image=Path(f"{n}.png"))
        for n, study in enumerate(studies(100))
    ]
    split = split_by_patient(views, 3)
    check_splits(split)
    assert len({(study.id, study.split) for study in split}) == 100


@pytest.mark.fault("S7")
def test_what_cannot_be_split() -> None:
    for fractions in ((0.5, 0.2, 0.2), (1.2, -0.1, -0.1)):
        with pytest.raises(PlaceError, match="PL-C001"):
            split_by_patient(studies(50), 0, fractions)
    with pytest.raises(PlaceError, match="PL-D207.*none of 2 patients falls into"):
        split_by_patient(studies(2), 0)
    with pytest.raises(PlaceError, match="PL-D207.*none of 0 patients"):
        split_by_patient([], 0)
    rows = studies(50)
    rows[4] = replace(rows[4], split="test")
    with pytest.raises(PlaceError, match="1 of 150 studies have a split already, first row 5"):
        split_by_patient(rows, 0)


@pytest.mark.fault("S7")
def test_overlap_is_named_with_rows() -> None:
    rows = split_by_patient(studies(60), 1)
    check_splits(rows)
    victim = next(row for row, study in enumerate(rows[:60]) if study.split == "train")
    rows[victim + 60] = replace(rows[victim + 60], split="test")
    message = refusal(rows)
    numbers = f"{victim + 1}, {victim + 61}, {victim + 121}"
    assert f"3 of 180 rows whose patient is in two splits, first rows {numbers}" in message
    assert rows[victim].patient not in message.replace("patient", "")


@pytest.mark.fault("S7")
def test_other_overlaps_and_gaps() -> None:
    a = Study(id="1", image=Path("a.png"), report="", split="train")
    b = Study(id="2", image=Path("b.png"), report="", split="test")
    check_splits([a, b])
    check_splits([replace(a, split=""), replace(b, split="")])
    check_splits([])
    assert "whose study is in two splits" in refusal([a, replace(b, id="1")])
    assert "whose image is in two splits" in refusal([a, replace(b, image=a.image)])
    assert "1 of 2 rows have no split, first rows 2" in refusal([a, replace(b, split="")])
    assert "1 of 2 rows have an unknown split, first rows 1" in refusal(
        [replace(a, split="Train"), b]
    )


@pytest.mark.fault("S7")
def test_the_digest_names_the_split() -> None:
    rows = split_by_patient(studies(60), 1)
    assert hash_splits(rows) == hash_splits(list(reversed(rows)))
    moved = [*rows[:-1], replace(rows[-1], split="val" if rows[-1].split != "val" else "test")]
    assert hash_splits(moved) != hash_splits(rows)
    renamed = [*rows[:-1], replace(rows[-1], id="other")]
    assert hash_splits(renamed) != hash_splits(rows)
    one = Study(id='a", "train', image=Path("a.png"), report="", split="val")
    assert hash_splits([one]) != hash_splits([replace(one, id="a", split='train", "val')])
    assert hash_splits([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
