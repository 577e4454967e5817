"""The tokenizer: the same corpus gives the same numbers, and reports become arrays without silent
losses.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers

from place_cxr.core.errors import PlaceError
from place_cxr.text.reports import ReportText, clean_text, hash_sentence, read_report
from place_cxr.text.tokenizer import MAX_SENTENCES, SPECIAL_TOKENS, EncodedReports, Tokenizer

CORPUS = [
    "No pleural effusion or pneumothorax.",
    "The heart is enlarged.",
    "The lungs are clear.",
    "Small left pleural effusion, 1.5 cm.",
    "The heart is normal in size.",
    "Bibasilar atelectasis.",
    "Café au lait; ≥ 3 mm.",
] * 3
TOKENIZER = Tokenizer.train(CORPUS, vocab_size=300)
PAD, UNKNOWN, CLS, SEP = range(4)


def report(*sentences: str, context: Sequence[int] = ()) -> ReportText:
    return ReportText(sentences, tuple(i not in context for i in range(len(sentences))), "findings")


def encode(*reports: ReportText, tokens: int = 64, sentences: int = 8) -> EncodedReports:
    return TOKENIZER.encode(reports, tokens, sentences)


def length(text: str) -> int:
    return int((encode(report(text)).sentence[0] == 0).sum())


# Training, saving, loading ------------------------------------------------------------------------


def test_the_order_of_the_corpus_does_not_matter() -> None:
    assert Tokenizer.train(CORPUS[::-1], vocab_size=300).hash == TOKENIZER.hash
    assert Tokenizer.train(CORPUS[1:], vocab_size=300).hash != TOKENIZER.hash


def test_the_same_in_every_process() -> None:
    code = "from place_cxr.text.tokenizer import Tokenizer; "
    code += f"print(Tokenizer.train({CORPUS!r}, vocab_size=300).hash)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert {run.stdout.strip() for run in runs} == {TOKENIZER.hash}


def test_vocabulary() -> None:
    numbers = json.loads(TOKENIZER.files("t")["t/tokenizer.json"])["model"]["vocab"]
    assert sorted(numbers, key=numbers.__getitem__)[:5] == list(SPECIAL_TOKENS)
    assert sorted(numbers.values()) == list(range(TOKENIZER.vocab_size))
    assert TOKENIZER.vocab_size <= 300
    assert TOKENIZER.pad_id == PAD
    assert {"heart", "effusion", "##s", "z", "##z", "9"} <= set(numbers)
    once = Tokenizer.train(["Seen by Wigglesworth.", *CORPUS], vocab_size=300)
    assert "wigglesworth" not in json.loads(once.files("t")["t/tokenizer.json"])["model"]["vocab"]


def test_frequent_words_are_single_tokens_and_new_ones_are_spelled() -> None:
    assert length("heart") == 1
    assert length("pleural effusion") == 2
    assert 2 < length("zygoma") <= 6
    assert (encode(report("zygoma")).ids != UNKNOWN).all()
    assert (encode(report("心")).ids[0, 1], length("心")) == (UNKNOWN, 1)


def test_pieces_that_go_on_with_a_word_are_known() -> None:
    encoded = encode(report("the zygoma"))
    assert encoded.continues is not None and encoded.continues.shape == (TOKENIZER.vocab_size,)
    real = encoded.ids[0][encoded.ids[0] != encoded.pad_id]
    assert encoded.continues[real].tolist() == [
        False,
        False,
        False,
        *[True] * (len(real) - 4),
        False,
    ]
    assert len(real) > 5  # the word is spelled


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(PlaceError, match="PL-C003.*room for the characters"):
        Tokenizer.train(CORPUS, vocab_size=50)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "deep" / "tokenizer")
    again = Tokenizer.load(tmp_path / "deep" / "tokenizer")
    assert again.hash == TOKENIZER.hash
    assert {
        f"x/{file.name}": file.read_bytes() for file in (tmp_path / "deep" / "tokenizer").iterdir()
    } == again.files("x")
    some = [report(*CORPUS[:4])]
    assert (again.encode(some, 32, 4).ids == TOKENIZER.encode(some, 32, 4).ids).all()


def test_a_bert_folder_with_its_word_list_alone(tmp_path: Path) -> None:
    words = [*SPECIAL_TOKENS, "the", "heart", "Heart", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    lower = Tokenizer.load(tmp_path)
    assert lower.encode([report("The Hearts")], 16, 2).ids[0, :5].tolist() == [CLS, 5, 6, 8, SEP]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    assert Tokenizer.load(tmp_path).encode([report("the Hearts")], 16, 2).ids[0, :5].tolist() == [
        CLS,
        5,
        7,
        8,
        SEP,
    ]


def test_a_folder_of_another_kind_with_its_own_frame_and_padding(tmp_path: Path) -> None:
    inner = tokenizers.Tokenizer(
        models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "clear": 4}, "<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    inner.enable_truncation(2)
    inner.enable_padding(length=50)
    inner.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.pad_id == 1
    assert loaded.encode([report("clear clear x")], 16, 2).ids[0].tolist() == [
        0,
        4,
        4,
        3,
        2,
        1,
        1,
        1,
    ]


def test_what_is_no_tokenizer_is_one_coded_line(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="PL-D302.*nothing is downloaded"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(PlaceError, match="PL-D302.*copy the tokenizer"):
        Tokenizer.load(tmp_path)
    frameless = tokenizers.Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1}, "[UNK]"))
    frameless.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(PlaceError, match="PL-D302.*first and last token"):
        Tokenizer.load(tmp_path)


# Encoding -----------------------------------------------------------------------------------------


def test_layout_of_a_report() -> None:
    encoded = encode(
        report("The heart is enlarged.", "PA view.", "The lungs are clear."),
        report("Clear.", context=[]),
    )
    context = encode(
        report("The heart is enlarged.", "PA view.", "The lungs are clear.", context=[1])
    )
    a, b, c = length("The heart is enlarged."), length("PA view."), length("The lungs are clear.")
    assert encoded.ids.shape[1] % 8 == 0
    assert encoded.ids.dtype == np.uint16
    assert encoded.ids[0, 0] == CLS
    assert encoded.ids[0, a + b + c + 1] == SEP
    assert (encoded.ids[0, a + b + c + 2 :] == PAD).all()
    assert encoded.sentence[0].tolist() == [
        -1,
        *[0] * a,
        *[1] * b,
        *[2] * c,
        *[-1] * (encoded.ids.shape[1] - a - b - c - 1),
    ]
    assert context.sentence[0, : a + b + c + 2].tolist() == [-1, *[0] * a, *[-1] * b, *[1] * c, -1]
    assert (context.ids[0, : a + b + c + 2] == encoded.ids[0, : a + b + c + 2]).all()
    assert context.sentence_key[0].tolist() == [
        hash_sentence("The heart is enlarged"),
        hash_sentence("The lungs are clear"),
        *[0] * 6,
    ]
    assert encoded.truncated == context.truncated == 0


@pytest.mark.fault("R7")
def test_reports_with_the_same_statements_share_a_key() -> None:
    first = report("Clear lungs.", "PA view.", "Large heart.", context=[1])
    same = report("large heart", "CLEAR LUNGS!", "Large heart.")
    other = report("Clear lungs.")
    keys = encode(first, same, other).report_key
    assert keys[0] == keys[1] != keys[2]
    assert (keys > 0).all()
    orders = [report(*random.Random(seed).sample(CORPUS[:7], 7)) for seed in range(20)]
    assert len(set(encode(*orders).report_key.tolist())) == 1
    assert encode(first, tokens=4).report_key[0] == keys[0]  # not a matter of the limits


@pytest.mark.fault("T1", "R6")
def test_where_nothing_observes_everything_does() -> None:
    encoded = encode(report("PA view.", "Recommend CT.", context=[0, 1]))
    assert (encoded.sentence_key[0] != 0).sum() == 2
    assert set(encoded.sentence[0].tolist()) == {-1, 0, 1}


@pytest.mark.fault("T3")
def test_limits_cut_and_are_counted() -> None:
    first, second = length(CORPUS[0]), length(CORPUS[1])
    whole = first + second + 2
    exact, less = (encode(report(*CORPUS[:2]), tokens=room) for room in (whole, whole - 1))
    assert (exact.truncated, less.truncated) == (0, 1)
    assert less.ids.shape == (1, whole - 1)
    assert less.ids[0, -1] == exact.ids[0, -1] == SEP
    assert (less.sentence_key[0, :2] != 0).all()  # the second sentence still has some tokens
    gone = encode(report(*CORPUS[:2]), report(CORPUS[2]), tokens=first + 2)
    assert gone.truncated == 1
    assert gone.sentence_key[0].tolist() == [hash_sentence(CORPUS[0]), *[0] * 7]
    assert set(gone.sentence[0].tolist()) == {-1, 0}
    assert encode(report(CORPUS[0]), tokens=3).ids.shape == (1, 3)


def test_observations_beyond_the_limit_stay_as_context() -> None:
    encoded = encode(report(*CORPUS[:5], context=[0]), sentences=2)
    assert encoded.truncated == 1
    assert encoded.sentence_key[0].tolist() == [hash_sentence(CORPUS[1]), hash_sentence(CORPUS[2])]
    assert encoded.sentence.max() == 1
    assert (encoded.ids[0] == encode(report(*CORPUS[:5])).ids[0]).all()


@pytest.mark.parametrize(("tokens", "sentences"), [(2, 4), (32, 0), (32, MAX_SENTENCES + 1)])
def test_limits_without_room_are_refused(tokens: int, sentences: int) -> None:
    with pytest.raises(PlaceError, match="PL-C003"):
        encode(report("Clear."), tokens=tokens, sentences=sentences)


def test_no_reports() -> None:
    encoded = encode()
    assert (encoded.ids.shape, encoded.sentence_key.shape, encoded.report_key.shape) == (
        (0, 8),
        (0, 8),
        (0,),
    )


def test_large_vocabularies_take_more_bytes(tmp_path: Path) -> None:
    words = [*SPECIAL_TOKENS, *(f"w{i}" for i in range(70_000))]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    encoded = Tokenizer.load(tmp_path).encode([report("w69999")], 8, 1)
    assert encoded.ids.dtype == np.int32
    assert encoded.ids[0, 1] == 70_004


@pytest.mark.fault("T4")
def test_names_of_special_tokens_in_a_report_are_text() -> None:
    ids = encode(report("[PAD] [SEP] clear [CLS]")).ids[0]
    assert (ids == SEP).sum() == (ids == CLS).sum() == 1
    assert (np.flatnonzero(ids == PAD) > np.flatnonzero(ids == SEP)[0]).all()


def slow(
    reports: Sequence[ReportText], tokens: int, sentences: int
) -> list[tuple[list[int], list[int], list[int]]]:
    """Token by token."""
    rows = []
    for item in reports:
        observed = item.is_observation
        if not any(observed):
            observed = (True,) * len(observed)
        ids, marks, keys = [CLS], [-1], [0] * sentences
        number = 0

        for text, yes in zip(item.sentences, observed, strict=True):
            alone = encode(report(text), tokens=100_000).ids[0]
            pieces = alone[1 : int(np.flatnonzero(alone == SEP)[0])].tolist()
            mark = number if yes and pieces and number < sentences else -1
            number += bool(yes and pieces)
            for piece in pieces:
                if len(ids) < tokens - 1:
                    ids.append(piece)
                    marks.append(mark)
                    if mark >= 0:
                        keys[mark] = hash_sentence(text)
        rows.append(([*ids, SEP], [*marks, -1], keys))

    return rows


REPORTS = st.lists(
    st.lists(
        st.tuples(st.sampled_from([*CORPUS[:7], "\u200b"]), st.booleans()), min_size=1, max_size=6
    ),
    min_size=1,
    max_size=4,
)


@given(REPORTS, st.integers(3, 40), st.integers(1, 5))
def test_same_as_token_by_token(
    drawn: list[list[tuple[str, bool]]], tokens: int, sentences: int
) -> None:
    reports = [ReportText(*zip(*item, strict=True), "whole") for item in drawn]
    encoded = encode(*reports, tokens=tokens, sentences=sentences)
    expected = slow(reports, tokens, sentences)
    longest = max(len(ids) for ids, _, _ in expected)
    assert encoded.ids.shape[1] == min(tokens, -(-longest // 8) * 8)
    for row, (ids, marks, keys) in enumerate(expected):
        assert encoded.ids[row, : len(ids)].tolist() == ids
        assert (encoded.ids[row, len(ids) :] == PAD).all()
        assert encoded.sentence[row, : len(ids)].tolist() == marks
        assert (encoded.sentence[row, len(ids) :] == -1).all()
        assert encoded.sentence_key[row].tolist() == keys


@pytest.mark.fault("T4")
@given(st.text(st.characters(codec=None), max_size=60))
def test_any_clean_text_goes_in_and_known_characters_come_back(text: str) -> None:
    cleaned = clean_text(text)
    encoded = encode(report(cleaned or "x"), tokens=512)
    assert encoded.ids[0, 0] == CLS
    assert (encoded.ids[0] == SEP).sum() == 1
    known = "".join(character for character in cleaned if character in "abcdefgh 0123")
    ids = encode(report(known), tokens=512).ids[0]
    assert TOKENIZER.decode(ids).split() == known.split()


@pytest.mark.fault("T3")
def test_a_word_of_fifty_thousand_letters_is_one_unknown_token() -> None:
    encoded = encode(read_report("Clear lungs. " + "a" * 50_000), tokens=32)
    assert (encoded.ids[0] == UNKNOWN).sum() == 1
    assert encoded.truncated == 0


@pytest.mark.parametrize("number", [10**9, 2**20, -1, 10**4000, 1.5])
def test_a_number_beyond_any_vocabulary_is_refused(tmp_path: Path, number: float) -> None:
    Tokenizer.train(["the heart is large"], 200).save(tmp_path)
    file = tmp_path / "tokenizer.json"
    good = json.loads(file.read_text())
    for change in ("vocab", "added"):
        table = json.loads(json.dumps(good))
        if change == "vocab":
            table["model"]["vocab"]["heart"] = number
        else:
            table["added_tokens"][0]["id"] = number
        file.write_text(json.dumps(table))

        with pytest.raises(PlaceError) as caught:
            Tokenizer.load(tmp_path)
        assert caught.value.code == "PL-D302"
