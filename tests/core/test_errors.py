"""The one exception family: its text, its exit code, and its way through a process border."""

from __future__ import annotations

import pickle

import pytest

from place_cxr.core.errors import PlaceError


def test_text_says_code_file_problem_and_fix() -> None:
    error = PlaceError("not a PNG.", code="PL-D101", file="a.png", fix="convert it.")
    assert str(error) == "error[PL-D101] a.png: not a PNG. Fix: convert it"
    assert (error.code, error.file, error.fix) == ("PL-D101", "a.png", "convert it.")


def test_question_keeps_its_mark() -> None:
    error = PlaceError("unknown key 'a'. Did you mean 'b'?", code="PL-C001", fix="use it")
    assert str(error) == "error[PL-C001] unknown key 'a'. Did you mean 'b'? Fix: use it"


@pytest.mark.fault("D3")
@pytest.mark.parametrize(
    "copied", [lambda e: pickle.loads(pickle.dumps(e)), lambda e: type(e)(str(e))]
)
def test_survives_a_process_border(copied: object) -> None:
    """multiprocessing sends the pickle, torch rebuilds from the text alone: code and exit code are
    kept both ways.
    """
    error = PlaceError("3 of 5 rows are wrong", code="PL-D204", file="m.csv", fix="mend them")
    again = copied(error)  # type: ignore[operator]
    assert (str(again), again.code, again.exit_code) == (str(error), "PL-D204", 4)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("PL-C001", 2), ("PL-E001", 3), ("PL-D101", 4), ("PL-R101", 5), ("PL-G001", 6), ("", 1)],
)
def test_letter_decides_the_exit_code(code: str, exit_code: int) -> None:
    assert PlaceError("x", code=code).exit_code == exit_code
