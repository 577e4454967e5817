"""Run-length masks: closed forms, a slow twin, a round trip, and the published decoder's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image

from place_cxr.core.errors import PlaceError
from place_cxr.core.records import RunLengths
from place_cxr.images.masks import decode_run_lengths, load_mask


def encode_run_lengths(mask: NDArray[np.bool_]) -> str:
    """The run lengths of one mask [height, width]; "" for an empty mask."""
    # False at both ends, so that each run has a start and an end.
    column_first = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(column_first[1:] != column_first[:-1])
    starts, ends = changes[::2], changes[1::2]

    gaps = starts - np.concatenate([[0], ends[:-1]]) if len(starts) else starts
    return " ".join(f"{gap} {length}" for gap, length in zip(gaps, ends - starts, strict=True))


def slow(mask: RunLengths) -> np.ndarray:
    """Pixel by pixel, from the words of the rule."""
    slow_mask = np.zeros((mask.height, mask.width), dtype=bool)
    for text in mask.texts:
        words, position = [int(word) for word in text.split()], 0
        for gap, length in zip(words[::2], words[1::2], strict=True):
            position += gap
            for pixel in range(position, position + length):
                if pixel < mask.height * mask.width:
                    slow_mask[pixel % mask.height, pixel // mask.height] = True
            position += length
    return slow_mask


def test_runs_go_down_the_columns_and_gaps_start_at_the_end_of_the_run_before() -> None:
    assert decode_run_lengths(RunLengths(("1 2 3 1",), height=3, width=3)).tolist() == [
        [False, False, True],
        [True, False, False],
        [True, False, False],
    ]


def test_no_text_is_an_empty_mask_and_the_whole_is_one_run() -> None:
    assert not decode_run_lengths(RunLengths((), 5, 4)).any()
    assert decode_run_lengths(RunLengths(("0 20",), 5, 4)).all()
    assert encode_run_lengths(np.zeros((5, 4), dtype=bool)) == ""
    assert encode_run_lengths(np.ones((5, 4), dtype=bool)) == "0 20"


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_there_and_back(mask: np.ndarray) -> None:
    assert np.array_equal(
        decode_run_lengths(RunLengths((encode_run_lengths(mask),), *mask.shape)), mask
    )


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6), max_size=3),
    st.integers(1, 7),
    st.integers(1, 7),
)
def test_slow_twin(runs: list[list[tuple[int, int]]], height: int, width: int) -> None:
    """Runs of length 0, several texts and runs past the end included."""
    texts = tuple(" ".join(f"{gap} {length}" for gap, length in run) for run in runs)
    mask = RunLengths(texts, height, width)
    assert np.array_equal(decode_run_lengths(mask), slow(mask))


@pytest.mark.parametrize(
    "text", ["-1", "3", "1 2 3", "a b", "1.5 2", "-3 4", "1 99999999999", "1 1e3", "9" * 5000]
)
def test_what_is_no_mask_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(PlaceError) as refused:
        decode_run_lengths(RunLengths((text,), 4, 4))
    assert refused.value.code == "PL-D230"


def test_a_file_and_runs_load_alike(tmp_path: Path) -> None:
    inside = np.zeros((12, 9), dtype=bool)
    inside[2:5, 3:7] = True
    Image.fromarray(inside.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    assert np.array_equal(load_mask(tmp_path / "mask.png"), inside)
    assert np.array_equal(load_mask(RunLengths((encode_run_lengths(inside),), 12, 9)), inside)


def test_as_the_published_decoder(test_data: Path) -> None:
    oracle = np.load(test_data / "oracles" / "siim_rle_masks.npz", allow_pickle=False)
    for name, height, width in (("16x16", 16, 16), ("width6_height4", 4, 6)):
        for text, mask in zip(oracle[f"strings_{name}"], oracle[f"masks_{name}"], strict=True):
            assert np.array_equal(
                decode_run_lengths(RunLengths((str(text),), height, width)), mask.astype(bool)
            )
    texts = [str(text) for text in oracle["strings_1024"]]
    for rows, mask in zip(oracle["rows_of_image"], oracle["union_1024"], strict=True):
        united = tuple(texts[row] for row in rows if row >= 0 and texts[row] != "-1")
        assert np.array_equal(decode_run_lengths(RunLengths(united, 1024, 1024)), mask.astype(bool))
