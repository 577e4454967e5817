"""Stratified splits by patient, and the file that keeps them: row S7 of the fault catalogue."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import Study
from place_cxr.data.corpus import DataSettings, prepare_corpus
from place_cxr.data.sources import SOURCES
from place_cxr.data.splits.by_patient import check_splits, hash_splits
from place_cxr.data.splits.stratified import apply_splits, split_stratified, write_splits


def study(number: int, patient: str, *findings: str) -> Study:
    labels = {name: float(name in findings) for name in ("rare", "common")}
    return Study(str(number), Path(f"{number}.png"), "", patient, labels=labels)


def cohort() -> list[Study]:
    """1,000 patients with one to three studies; 20 have the rare finding in one of them, 300 the
    common one.
    """
    found = []
    for patient in range(1000):
        names = ["rare"] * (patient % 50 == 7) + ["common"] * (patient % 10 < 3)
        for number in range(1 + patient % 3):
            found.append(
                study(10 * patient + number, f"p{patient}", *(names if number == 0 else ()))
            )
    return found


@pytest.mark.fault("S7")
@settings(max_examples=30)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 60), min_size=60, max_size=90))
def test_any_split_is_disjoint_by_patient(seed: int, patients: list[int]) -> None:
    rows = [study(n, f"p{p}", *["rare"] * (p % 7 == 0)) for n, p in enumerate(patients)]
    try:
        split = split_stratified(rows, seed, (0.5, 0.25, 0.25))
    except PlaceError as error:
        assert "falls into" in str(error) and len(set(patients)) < 4
        return
    check_splits(split)
    assert [one.id for one in split] == [one.id for one in rows]
    shares = Counter({one.patient: one.split for one in split}.values())
    total = len(set(patients))
    assert all(
        abs(shares[name] - share * total) <= 1
        for name, share in (("train", 0.5), ("val", 0.25), ("test", 0.25))
    )


@pytest.mark.fault("S7")
@pytest.mark.parametrize("seed", range(5))
def test_every_finding_has_its_share(seed: int) -> None:
    split = split_stratified(cohort(), seed)
    for name, patients in (("rare", 20), ("common", 300)):
        parts = Counter(one.split for one in split if one.labels[name])
        for part, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            assert abs(parts[part] - share * patients) <= 3, (name, parts)


@pytest.mark.fault("S7")
def test_seed_decides_and_order_does_not() -> None:
    rows = cohort()
    first = split_stratified(rows, 1)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert (
        hash_splits(first)
        == hash_splits(split_stratified(shuffled, 1))
        != hash_splits(split_stratified(rows, 2))
    )
    for fractions in ((0.5, 0.2, 0.2), (1.2, -0.1, -0.1)):
        with pytest.raises(PlaceError, match="PL-C001"):
            split_stratified(rows, 0, fractions)
    with pytest.raises(PlaceError, match="PL-D207.*none of 2 patients falls into"):
        split_stratified(rows[:3], 0)
    assert {one.split for one in split_stratified(rows, 0, (0.9, 0.0, 0.1))} == {"train", "test"}


@pytest.mark.fault("S7")
def test_the_file_gives_the_split_back(tmp_path: Path) -> None:
    rows = cohort()
    split = split_stratified(rows, 1)
    file = tmp_path / "splits.csv"
    assert write_splits(split, file) == hash_splits(split)
    assert file.stat().st_mode & 0o777 == 0o600
    assert apply_splits(rows, file) == split
    assert (
        apply_splits(rows[5:50], file) == split[5:50]
    )  # of a part, as where some rows have no report
    assert (
        apply_splits([Study("0", Path("x"), "", "p0", split="test")], file)[0].split
        == split[0].split
    )
    with pytest.raises(PlaceError, match=r"PL-D207.*1 of 3 studies are not in it, first row 3"):
        apply_splits([*rows[:2], study(99_999, "q")], file)
    with pytest.raises(PlaceError, match="PL-D207.*whose patient is in two splits"):
        write_splits(
            [split[0], Study("x", Path("x"), "", split[0].patient, split="val")],
            tmp_path / "bad.csv",
        )
    text = file.read_text()
    other = {"train": "test", "test": "train", "val": "test"}[split[1].split]
    for bad, code in (
        (text + f"{split[0].id},{'val' if split[0].split != 'val' else 'test'}\n", "PL-D207"),
        (text.replace("study", "case"), "PL-D201"),
        (text.replace(f"\n{split[1].id},{split[1].split}\n", f"\n{split[1].id},{other}\n"), ""),
        (text.replace(",train", ",training"), "PL-D207"),
    ):
        file.write_text(bad)
        if code:
            with pytest.raises(PlaceError, match=code):
                apply_splits(rows, file)


@pytest.mark.fault("S7")
def test_a_run_keeps_the_digest(phantom: Path, tmp_path: Path) -> None:
    """The printed digest is that of the lock, which checkpoints and run folders hold
    (tests/test_pretrain.py).
    """
    studies = split_stratified(SOURCES["manifest"](phantom), 4)
    printed = write_splits(studies, tmp_path / "splits.csv")
    settings = {"manifest": str(phantom), "pack_size": 32, "vocab_size": 300}
    with_file = prepare_corpus(
        DataSettings(splits=str(tmp_path / "splits.csv"), **settings), max_tokens=24
    ).lock()
    assert with_file["split_digest"] == printed
    assert prepare_corpus(DataSettings(**settings), max_tokens=24).lock()["split_digest"] != printed
