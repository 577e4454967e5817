"""Sentences to token numbers: a WordPiece trained on the corpus, or any Hugging Face tokenizer
folder.

A report becomes one sequence ``[CLS] sentence sentence ... [SEP]``; each distinct sentence is
tokenised once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from place_cxr.core.errors import PlaceError
from place_cxr.text.reports import ReportText, hash_bytes, hash_sentence

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_UNKNOWN = SPECIAL_TOKENS[1]
MAX_SENTENCES = 127  # int8
_LENGTH_MULTIPLE = 8  # sequence lengths are multiples of it
_MAX_CHARACTERS = (
    1000  # most frequent ones that get a token of their own; words with others become [UNK]
)
_BASE_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PRIVATE_USE_START = 0xF0000  # Unicode's private use plane


@dataclass(frozen=True, slots=True)
class EncodedReports:
    """N reports as numbers, at most L tokens and S observations each. Arrays may be memory-mapped.

    ``sentence_key`` is 0 where a report has no s-th observation, or none of its tokens fitted.
    ``report_key`` is a hash of the set of all its observations, fitted or not. ``truncated``:
    reports that lost tokens or observations. ``continues``: which tokens of the vocabulary go on
    with the word before; None where none does.
    """

    ids: NDArray[np.uint16 | np.int32]  # [N, L], ``pad_id`` after the last token
    sentence: NDArray[np.int8]  # [N, L], number of the observation a token belongs to, -1 for none
    sentence_key: NDArray[np.int64]  # [N, S]
    report_key: NDArray[np.int64]  # [N]
    pad_id: int
    truncated: int
    continues: NDArray[np.bool_] | None = None  # [vocabulary]


class Tokenizer:
    """Same name, same numbers: ``hash`` covers everything that decides how text becomes tokens."""

    def __init__(self, inner: tokenizers.Tokenizer, *, source: str | Path = "tokenizer") -> None:
        """Raises PL-D302 where ``inner`` has no padding token or does not frame a text by a first
        and a last token.
        """
        inner.no_truncation()
        inner.no_padding()
        inner.encode_special_tokens = True  # "[SEP]" in a report is text, not a separator
        frame = inner.encode("").ids
        pad = next(
            (
                token
                for name in ("[PAD]", "<pad>")
                if (token := inner.token_to_id(name)) is not None
            ),
            None,
        )
        if pad is None or len(frame) != 2:
            problem = (
                "a tokenizer without padding token"
                if pad is None
                else "a tokenizer without first and last token"
            )
            raise PlaceError(problem, code="PL-D302", file=source, fix="take a BERT-like tokenizer")
        self._inner = inner
        self._first, self._last = frame
        self.pad_id: int = pad
        vocabulary = inner.get_vocab()
        self.vocab_size: int = max(vocabulary.values()) + 1
        self._continues = np.zeros(self.vocab_size, bool)
        self._continues[
            [number for piece, number in vocabulary.items() if piece.startswith("##")]
        ] = True
        self._text: str = inner.to_str()
        self.hash: str = sha256(self._text.encode()).hexdigest()

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int = 4000) -> Tokenizer:
        """A lower-casing WordPiece of at most ``vocab_size`` tokens, the five SPECIALS first.

        The same sentences in any order give the same tokenizer. Words that occur once never become
        a token as a whole, so no rare name is stored. Raises PL-C003 where ``vocab_size`` has no
        room for the characters.
        """
        normalizer, splitter = (
            normalizers.BertNormalizer(lowercase=True),
            pre_tokenizers.BertPreTokenizer(),
        )
        words: Counter[str] = Counter()
        for sentence, count in Counter(sentences).items():
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(sentence)):
                words[word] += count
        vocabulary = [*SPECIAL_TOKENS, *_train_word_pieces(words, vocab_size - len(SPECIAL_TOKENS))]
        numbers = {piece: number for number, piece in enumerate(vocabulary)}
        return cls(_make_bert_tokenizer(numbers, lowercase=True))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """From a folder with ``tokenizer.json`` (ours, or any of Hugging Face) or BERT's
        ``vocab.txt``.

        Raises PL-D302 where there is neither, or one that cannot be read. Nothing is downloaded.
        """
        folder = Path(path)
        file, words = folder / "tokenizer.json", folder / "vocab.txt"
        try:
            if file.is_file():
                return cls(
                    tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8")), source=file
                )
            if words.is_file():
                lines = words.read_text(encoding="utf-8").splitlines()
                return cls(
                    _make_bert_tokenizer(
                        {line: number for number, line in enumerate(lines)}, _read_lowercase(folder)
                    ),
                    source=words,
                )
        except PlaceError:
            raise
        except Exception as error:  # the library raises plain Exception
            fix = "copy the tokenizer folder again"
            raise PlaceError(
                "not a tokenizer that can be read", code="PL-D302", file=folder, fix=fix
            ) from error
        fix = "give a folder with tokenizer.json or vocab.txt; nothing is downloaded"
        raise PlaceError("no tokenizer here", code="PL-D302", file=folder, fix=fix)

    def save(self, folder: str | Path) -> None:
        """Writes ``tokenizer.json`` into ``folder``, which ``load`` reads back with the same
        ``hash``.
        """
        for name, data in self.files(Path(folder).name).items():
            target = Path(folder).parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def files(self, folder: str) -> dict[str, bytes]:
        """What ``save`` writes, by relative name under ``folder``: for a checkpoint."""
        return {f"{folder}/tokenizer.json": self._text.encode()}

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Text of token numbers, as the tokenizer's normaliser left it, without the special tokens."""
        return str(self._inner.decode([int(number) for number in ids]))

    def encode(
        self, reports: Sequence[ReportText], max_tokens: int, max_sentences: int
    ) -> EncodedReports:
        """Reports as arrays: L is the longest length in use, a multiple of 8 unless ``max_tokens``
        cuts it.

        Sentences that do not observe keep their tokens as context, as do observations beyond
        ``max_sentences``, without a number. In a report where none observes all do, so that nothing
        is dropped silently. Raises PL-C003 for limits that leave no room.
        """
        if max_tokens < 3 or not 1 <= max_sentences <= MAX_SENTENCES:
            problem = f"{max_tokens} tokens, {max_sentences} sentences"
            raise PlaceError(
                problem, code="PL-C003", fix=f"use 3 or more tokens, 1 to {MAX_SENTENCES} sentences"
            )
        sentence_ids: dict[str, int] = {}
        report_sentences = [
            [sentence_ids.setdefault(text, len(sentence_ids)) for text in report.sentences]
            for report in reports
        ]
        observed = [
            report.is_observation if any(report.is_observation) else (True,) * len(report.sentences)
            for report in reports
        ]
        tokens = [
            encoding.ids
            for encoding in self._inner.encode_batch_fast(
                list(sentence_ids), add_special_tokens=False
            )
        ]
        keys = np.array([hash_sentence(text) for text in sentence_ids], np.int64)
        length = np.array([len(ids) for ids in tokens], np.int64)
        flat = np.array([token for ids in tokens for token in ids], np.int64)
        key_sets = [
            {int(keys[i]) for i, flag in zip(numbers, flags, strict=True) if flag}
            for numbers, flags in zip(report_sentences, observed, strict=True)
        ]
        return self._to_arrays(
            _DistinctSentences(report_sentences, observed, keys, length, flat),
            np.array(
                [hash_bytes(np.array(sorted(key_set), "<i8").tobytes()) for key_set in key_sets],
                np.int64,
            ),
            max_tokens,
            max_sentences,
        )

    def _to_arrays(
        self,
        sentences: _DistinctSentences,
        report_key: NDArray[np.int64],
        max_tokens: int,
        max_sentences: int,
    ) -> EncodedReports:
        report_count = len(sentences.said)
        # One entry for each sentence of each report.
        row = np.repeat(
            np.arange(report_count), [len(report_sentences) for report_sentences in sentences.said]
        )
        sentence_index = np.array(
            [i for report_sentences in sentences.said for i in report_sentences], np.int64
        )
        observed = np.array(
            [flag for report_sentences in sentences.observed for flag in report_sentences], bool
        )
        token_count = sentences.length[sentence_index]
        observed &= token_count > 0
        order = _sum_before(row, observed.astype(np.int64), report_count)
        start = _sum_before(row, token_count, report_count) + 1
        numbered = observed & (order < max_sentences)
        fits = numbered & (start < max_tokens - 1)
        sentence_key = np.zeros((report_count, max_sentences), np.int64)
        sentence_key[row[fits], order[fits]] = sentences.keys[sentence_index[fits]]
        total = np.bincount(row, token_count, report_count).astype(np.int64)
        used = np.minimum(total, max_tokens - 2)
        longest = int(used.max(initial=0)) + 2
        width = min(max_tokens, -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)
        # One entry for each token.
        begin = np.cumsum(sentences.length) - sentences.length
        offset = np.arange(int(token_count.sum())) - np.repeat(
            np.cumsum(token_count) - token_count, token_count
        )
        column = np.repeat(start, token_count) + offset
        keep = column < max_tokens - 1
        token_row, column = np.repeat(row, token_count)[keep], column[keep]
        ids = np.full(
            (report_count, width),
            self.pad_id,
            np.uint16 if self.vocab_size <= 1 << 16 else np.int32,
        )
        ids[token_row, column] = sentences.flat[
            (np.repeat(begin[sentence_index], token_count) + offset)[keep]
        ]
        ids[:, 0] = self._first
        ids[np.arange(report_count), used + 1] = self._last
        sentence = np.full((report_count, width), -1, np.int8)
        sentence[token_row, column] = np.repeat(np.where(numbered, order, -1), token_count)[keep]
        lost = (total > used) | (np.bincount(row, observed & ~fits, report_count) > 0)
        truncated = int(lost.sum())
        return EncodedReports(
            ids, sentence, sentence_key, report_key, self.pad_id, truncated, self._continues
        )


@dataclass(frozen=True, slots=True)
class _DistinctSentences:
    """Reports as numbers of their sentences, and what each distinct sentence is: key, length, where
    its tokens are.
    """

    said: list[list[int]]
    observed: list[tuple[bool, ...]]
    keys: NDArray[np.int64]
    length: NDArray[np.int64]
    flat: NDArray[np.int64]


def _sum_before(row: NDArray[np.int64], amount: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Sum of the ``amount``s before each entry of the same ``row``; rows ascend."""
    before = np.cumsum(amount) - amount
    per_row = np.bincount(row, amount, rows).astype(np.int64)
    return before - (np.cumsum(per_row) - per_row)[row]


def _make_bert_tokenizer(vocabulary: dict[str, int], lowercase: bool) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=100)
    )
    inner.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = tokenizers.decoders.WordPiece()
    inner.add_special_tokens([name for name in SPECIAL_TOKENS if name in vocabulary])
    inner.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    return inner


def _read_lowercase(folder: Path) -> bool:
    """``do_lower_case`` of a BERT folder; true where nothing is said, as in transformers."""
    file = folder / "tokenizer_config.json"
    return not file.is_file() or bool(
        json.loads(file.read_text(encoding="utf-8")).get("do_lower_case", True)
    )


def _train_word_pieces(words: Counter[str], max_pieces: int) -> list[str]:
    """Pieces of the counted words, best first after the characters; "##" marks those that continue
    a word.

    The library's own trainer numbers the continuing characters in an order that changes from
    process to process, and breaks ties by number. Hence plain pairs are merged here, with a private
    character for each that continues a word.
    """
    character_counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            character_counts[character] += count
    frequent = sorted(
        character_counts, key=lambda character: (-character_counts[character], character)
    )[:_MAX_CHARACTERS]
    alphabet = sorted({*_BASE_CHARACTERS, *frequent})
    if max_pieces < 2 * len(alphabet):
        fix = f"use {2 * len(alphabet) + len(SPECIAL_TOKENS)} or more"
        raise PlaceError("vocab_size has no room for the characters", code="PL-C003", fix=fix)
    continuing = {
        character: chr(_PRIVATE_USE_START + number) for number, character in enumerate(alphabet)
    }
    plain = {private: character for character, private in continuing.items()}
    spelled = []
    for word in sorted(words):
        if all(character in continuing for character in word):
            spelling = word[0] + "".join(continuing[character] for character in word[1:])
            spelled.append(" ".join([spelling] * words[word]))
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=max_pieces,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=[*alphabet, *plain],
        limit_alphabet=2 * len(alphabet),
    )
    inner.train_from_iterator(spelled, trainer)
    pieces = sorted(inner.get_vocab().items(), key=lambda item: item[1])
    return [
        ("##" if piece[0] in plain else "")
        + "".join(plain.get(character, character) for character in piece)
        for piece, _ in pieces
    ]
