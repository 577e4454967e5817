"""Sentences to token ids: a WordPiece trained on the corpus, or any Hugging Face tokenizer folder.

A report becomes one sequence ``[CLS] sentence sentence ... [SEP]``. Each distinct sentence is
tokenized once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, compress
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
_FILE_LIMIT = 64 << 20  # bytes; the largest known tokenizers have 20 MB
_MAX_VOCABULARY = 1 << 20  # tokens; the largest known vocabularies have a quarter of it
_LENGTH_MULTIPLE = 8  # sequence lengths are multiples of it
# Number of characters, most frequent first, that get a token. Words with others become [UNK].
_MAX_CHARACTERS = 1000
_BASE_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PRIVATE_USE_START = 0xF0000  # Unicode's private use plane


@dataclass(frozen=True, slots=True)
class EncodedReports:
    """N reports as token ids, at most L tokens and S observations each.

    ``sentence_key`` is 0 where a report has no s-th observation, or where none of its tokens
    fitted. ``report_key`` is a hash of the set of all observations, fitted or not. ``truncated`` is
    the number of reports that lost tokens or observations. ``continues``: which tokens of the
    vocabulary continue the word before them; None where none does. Arrays may be memory-mapped.
    """

    ids: NDArray[np.uint16 | np.int32]  # [N, L], ``pad_id`` after the last token
    sentence: NDArray[np.int8]  # [N, L], number of the observation a token belongs to, -1 for none
    sentence_key: NDArray[np.int64]  # [N, S]
    report_key: NDArray[np.int64]  # [N]
    pad_id: int
    truncated: int
    continues: NDArray[np.bool_] | None = None  # [vocabulary]


class Tokenizer:
    """Text to token ids and back. ``hash`` covers everything that decides the ids of a text."""

    def __init__(self, inner: tokenizers.Tokenizer, *, source: str | Path = "tokenizer") -> None:
        """Raises PL-D302 where ``inner`` has no padding token, or no first and last token."""
        inner.no_truncation()
        inner.no_padding()
        inner.encode_special_tokens = True  # "[SEP]" in a report is text, not a separator

        # The ids around an empty text: [CLS] [SEP] or <s> </s>.
        frame = inner.encode("").ids
        pad = inner.token_to_id("[PAD]")
        if pad is None:
            pad = inner.token_to_id("<pad>")
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
        for piece, number in vocabulary.items():
            self._continues[number] = piece.startswith("##")

        self._text: str = inner.to_str()
        self.hash: str = sha256(self._text.encode()).hexdigest()

    @classmethod
    def train(cls, sentences: Iterable[str], vocab_size: int = 4000) -> Tokenizer:
        """A lower-casing WordPiece of at most ``vocab_size`` tokens, the five SPECIAL_TOKENS first.

        The same sentences in any order give the same tokenizer. A word that occurs once never
        becomes a token as a whole, so no rare name is stored. Raises PL-C003 where ``vocab_size``
        has no room for the characters.
        """
        normalizer = normalizers.BertNormalizer(lowercase=True)
        splitter = pre_tokenizers.BertPreTokenizer()
        words: Counter[str] = Counter()
        for sentence, count in Counter(sentences).items():
            for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(sentence)):
                words[word] += count

        vocabulary = [*SPECIAL_TOKENS, *_train_word_pieces(words, vocab_size - len(SPECIAL_TOKENS))]
        numbers = {piece: number for number, piece in enumerate(vocabulary)}
        return cls(_make_bert_tokenizer(numbers, lowercase=True))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a folder with ``tokenizer.json`` (Hugging Face) or ``vocab.txt`` (BERT).

        Raises PL-D302 where there is neither, or where it cannot be read. Nothing is downloaded.
        """
        folder = Path(path)
        file, words = folder / "tokenizer.json", folder / "vocab.txt"

        try:
            if file.is_file():
                _check_size(file)
                text = file.read_text(encoding="utf-8")
                _check_ids(json.loads(text))
                inner = tokenizers.Tokenizer.from_str(text)
                return cls(inner, source=file)
            if words.is_file():
                _check_size(words)
                lines = words.read_text(encoding="utf-8").splitlines()
                vocabulary = {line: number for number, line in enumerate(lines)}
                inner = _make_bert_tokenizer(vocabulary, _read_lowercase(folder))
                return cls(inner, source=words)
        except PlaceError:
            raise
        except BaseException as error:
            # The library raises plain Exception, and a BaseException of its own where it panics.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            fix = "copy the tokenizer folder again"
            raise PlaceError(
                "not a tokenizer that can be read", code="PL-D302", file=folder, fix=fix
            ) from error

        fix = "give a folder with tokenizer.json or vocab.txt; nothing is downloaded"
        raise PlaceError("no tokenizer here", code="PL-D302", file=folder, fix=fix)

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` into ``folder``; ``load`` reads it with the same ``hash``."""
        for name, data in self.files(Path(folder).name).items():
            target = Path(folder).parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def files(self, folder: str) -> dict[str, bytes]:
        """Relative name under ``folder`` -> bytes of the files that ``save`` writes."""
        return {f"{folder}/tokenizer.json": self._text.encode()}

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """Text of token ids, in the tokenizer's normal form, without the special tokens."""
        return str(self._inner.decode([int(number) for number in ids]))

    def encode(
        self, reports: Sequence[ReportText], max_tokens: int, max_sentences: int
    ) -> EncodedReports:
        """Reports as arrays.

        L is the length of the longest report, rounded up to a multiple of 8, at most
        ``max_tokens``. Sentences that are no observation, and observations beyond
        ``max_sentences``, keep their tokens as context, without a number. In a report without
        observation every sentence counts as one, so that no report is lost. Raises PL-C003 for
        limits that leave no room.
        """
        if max_tokens < 3 or not 1 <= max_sentences <= MAX_SENTENCES:
            problem = f"{max_tokens} tokens, {max_sentences} sentences"
            raise PlaceError(
                problem, code="PL-C003", fix=f"use 3 or more tokens, 1 to {MAX_SENTENCES} sentences"
            )

        # Each report as numbers of its sentences: equal sentences share a number.
        sentence_ids: dict[str, int] = {}
        report_sentences: list[list[int]] = []
        observed: list[tuple[bool, ...]] = []
        for report in reports:
            for text in report.sentences:
                sentence_ids.setdefault(text, len(sentence_ids))
            report_sentences.append([sentence_ids[text] for text in report.sentences])
            flags = report.is_observation
            observed.append(flags if any(flags) else (True,) * len(flags))

        encodings = self._inner.encode_batch_fast(list(sentence_ids), add_special_tokens=False)
        tokens = [encoding.ids for encoding in encodings]
        keys = np.array([hash_sentence(text) for text in sentence_ids], np.int64)
        length = np.array([len(ids) for ids in tokens], np.int64)
        flat = np.array(list(chain.from_iterable(tokens)), np.int64)

        # A report's key is that of the set of its observations: order and repeats do not matter.
        report_keys = []
        for numbers, flags in zip(report_sentences, observed, strict=True):
            key_set = {int(keys[i]) for i in compress(numbers, flags)}
            report_keys.append(hash_bytes(np.array(sorted(key_set), "<i8").tobytes()))

        sentences = _DistinctSentences(report_sentences, observed, keys, length, flat)
        report_key = np.array(report_keys, np.int64)
        return self._to_arrays(sentences, report_key, max_tokens, max_sentences)

    def _to_arrays(
        self,
        sentences: _DistinctSentences,
        report_key: NDArray[np.int64],
        max_tokens: int,
        max_sentences: int,
    ) -> EncodedReports:
        # Arrays with one entry for each sentence of each report: its report, its number among the
        # distinct sentences, its place among the observations, its first column.
        report_count = len(sentences.report_sentences)
        counts = [len(numbers) for numbers in sentences.report_sentences]
        row = np.repeat(np.arange(report_count), counts)
        sentence_index = np.array(list(chain.from_iterable(sentences.report_sentences)), np.int64)
        observed = np.array(list(chain.from_iterable(sentences.observed)), bool)
        token_count = sentences.length[sentence_index]
        observed &= token_count > 0
        order = _sum_before(row, observed.astype(np.int64), report_count)
        start = _sum_before(row, token_count, report_count) + 1

        # Observations up to the limit have a number; those with room for a token have a key.
        numbered = observed & (order < max_sentences)
        fits = numbered & (start < max_tokens - 1)
        sentence_key = np.zeros((report_count, max_sentences), np.int64)
        sentence_key[row[fits], order[fits]] = sentences.keys[sentence_index[fits]]

        # Tokens of each report; two columns are those of the first and the last token.
        total = np.bincount(row, token_count, report_count).astype(np.int64)
        used = np.minimum(total, max_tokens - 2)
        longest = int(used.max(initial=0)) + 2
        width = min(max_tokens, -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE)

        # Arrays with one entry for each token: its place in the sentence, its row and column.
        begin = np.cumsum(sentences.length) - sentences.length
        offset = np.arange(int(token_count.sum())) - np.repeat(
            np.cumsum(token_count) - token_count, token_count
        )
        column = np.repeat(start, token_count) + offset
        keep = column < max_tokens - 1
        token_row, column = np.repeat(row, token_count)[keep], column[keep]

        dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.int32
        ids = np.full((report_count, width), self.pad_id, dtype)
        flat_index = np.repeat(begin[sentence_index], token_count) + offset
        ids[token_row, column] = sentences.flat[flat_index[keep]]
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
    """Reports as numbers of distinct sentences, with what each distinct sentence consists of."""

    report_sentences: list[list[int]]
    observed: list[tuple[bool, ...]]  # which sentences of each report are observations
    keys: NDArray[np.int64]  # [distinct]
    length: NDArray[np.int64]  # [distinct], in tokens
    flat: NDArray[np.int64]  # the tokens of all distinct sentences, one after another


def _sum_before(row: NDArray[np.int64], amount: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Sum of ``amount`` over the entries before each one of the same ``row``; rows ascend."""
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


def _check_size(file: Path) -> None:
    if not file.is_file() or file.stat().st_size > _FILE_LIMIT:
        raise ValueError("too large for a tokenizer")


def _check_ids(table: Any) -> None:
    """Raises ValueError where a ``tokenizer.json`` numbers a token so high that arrays over the
    vocabulary would fill the memory.
    """
    vocabulary = table["model"].get("vocab") or {}
    numbers = list(vocabulary.values()) if isinstance(vocabulary, dict) else [len(vocabulary)]
    numbers += [token["id"] for token in table.get("added_tokens") or []]
    if not all(isinstance(number, int) and 0 <= number < _MAX_VOCABULARY for number in numbers):
        raise ValueError("an id beyond the largest vocabulary")


def _read_lowercase(folder: Path) -> bool:
    """``do_lower_case`` of a BERT folder; true where it is not set, as in transformers."""
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return True

    return bool(json.loads(file.read_text(encoding="utf-8")).get("do_lower_case", True))


def _train_word_pieces(words: Counter[str], max_pieces: int) -> list[str]:
    """Pieces of the counted words: the characters, then merged pieces, best first.

    "##" marks pieces that continue a word. The library's own trainer numbers the continuing
    characters in an order that changes from process to process, and breaks ties by number. Hence
    this function merges plain pairs, with a private character for each one that continues a word.
    """
    character_counts: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            character_counts[character] += count

    # Ties are broken by the character, so that the order of the corpus does not matter.
    by_count = sorted(character_counts, key=lambda item: (-character_counts[item], item))
    frequent = by_count[:_MAX_CHARACTERS]
    alphabet = sorted({*_BASE_CHARACTERS, *frequent})
    if max_pieces < 2 * len(alphabet):
        fix = f"use {2 * len(alphabet) + len(SPECIAL_TOKENS)} or more"
        raise PlaceError("vocab_size has no room for the characters", code="PL-C003", fix=fix)

    continuing = {
        character: chr(_PRIVATE_USE_START + number) for number, character in enumerate(alphabet)
    }
    plain = {private: character for character, private in continuing.items()}

    # Each word as often as it occurs, all characters but the first in their private form.
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

    private_to_plain = str.maketrans(plain)
    numbers = inner.get_vocab()
    pieces = []
    for piece in sorted(numbers, key=numbers.__getitem__):
        prefix = "##" if piece[0] in plain else ""
        pieces.append(prefix + piece.translate(private_to_plain))

    return pieces
