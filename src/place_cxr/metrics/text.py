"""Text overlap of generated reports and references: BLEU-1 to 4, ROUGE-L and CIDEr, one reference
each.

The definitions are those of the COCO caption evaluation, which the field uses: corpus BLEU without
smoothing, ROUGE-L with beta 1.2, CIDEr with clipped counts and a length penalty (CIDEr-D), times
10. An n-gram order that no report matches gives 0 exactly. They measure wording, not facts; for
facts see ``clinical``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from place_cxr.core.errors import PlaceError
from place_cxr.core.registry import pick
from place_cxr.core.results import Metric
from place_cxr.metrics.intervals import (
    RESAMPLES,
    Floats,
    Statistic,
    bootstrap_columns,
    mean_statistic,
    undefined_metric,
)
from place_cxr.metrics.words import TOKENIZERS

NGRAM_ORDERS = 4
ROUGE_BETA = 1.2  # [COCO] ROUGE-L: recall weighs BETA squared times as much as precision
CIDER_SIGMA = 6.0  # [COCO] CIDEr: words by which lengths may differ, as a Gaussian
_Tokens = Sequence[str]


def text_signature(tokenizer: str) -> str:
    """What was counted and how, to stand beside each number."""
    return (
        f"tokens: {tokenizer}; one reference; BLEU over the corpus, unsmoothed; ROUGE-L beta "
        f"{ROUGE_BETA}; CIDEr-D, n 1-{NGRAM_ORDERS}, sigma {CIDER_SIGMA:g}, document frequencies "
        f"from all references"
    )


def text_scores(
    generated: Sequence[str],
    references: Sequence[str],
    patients: Sequence[str],
    *,
    tokenizer: str = "words",
    n: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """BLEU-1 to BLEU-4, ROUGE-L and CIDEr of N generated reports, with intervals over patients.

    CIDEr's document frequencies stay those of all references in every resample. With a single
    report CIDEr is undefined.

    Raises:
        PlaceError: PL-D222 if the lists have different lengths, PL-D228 if a reference has no
            token, PL-C002 for an unknown tokenizer.
    """
    return scores_from_measures(
        measure_reports(generated, references, tokenizer=tokenizer), patients, n=n, seed=seed
    )


def measure_reports(
    generated: Sequence[str], references: Sequence[str], *, tokenizer: str = "words"
) -> Floats:
    """What the scores need of each report, in numbers without words [N, 12].

    The columns: matches of each n-gram order; generated n-grams of each order; generated words;
    words of the reference; ROUGE-L; CIDEr (NaN for a single report). Raises PlaceError as
    `text_scores`.
    """
    tokens = pick(TOKENIZERS, tokenizer, "tokeniser")
    if len(generated) != len(references):
        raise PlaceError(
            f"{len(generated)} generated reports, {len(references)} references", code="PL-D222"
        )

    guesses = [tokens(text) for text in generated]
    truths = [tokens(text) for text in references]
    empty = [row for row, truth in enumerate(truths) if not truth]
    if empty:
        raise PlaceError(
            f"{len(empty)} references have no word, first row {empty[0]}",
            code="PL-D228",
            fix="leave these rows out",
        )

    cider_values = cider(guesses, truths) if len(truths) > 1 else np.full(len(truths), np.nan)

    return np.column_stack(
        [_count_matches(guesses, truths), rouge_l(guesses, truths), cider_values]
    )


def scores_from_measures(
    measures: Floats, patients: Sequence[str], *, n: int = RESAMPLES, seed: int = 0
) -> dict[str, Metric]:
    """The scores of `text_scores` from what `measure_reports` returned.

    Raises PlaceError PL-D222 where the lengths disagree.
    """
    if len(measures) != len(patients):
        raise PlaceError(
            f"{len(measures)} reports and {len(patients)} patients disagree", code="PL-D222"
        )

    names = [f"BLEU-{order}" for order in range(1, NGRAM_ORDERS + 1)]
    bleu = bootstrap_columns(_bleu(measures[:, :-2]), patients, n=n, seed=seed)
    metrics = dict(zip(names, bleu, strict=True))

    # ROUGE-L and CIDEr are means over reports; BLEU is one quotient over the corpus.
    means = bootstrap_columns(mean_statistic(measures[:, -2:]), patients, n=n, seed=seed)
    metrics |= zip(("ROUGE-L", "CIDEr"), means, strict=True)
    if np.isnan(measures[:, -1]).all():
        metrics["CIDEr"] = undefined_metric(
            "one report: each word stands in all references and weighs nothing", len(measures)
        )

    return metrics


def _bleu(counted: Floats) -> Statistic:
    """BLEU-1 to BLEU-4 [R, 4] as a function of report counts. Matches and lengths are summed over
    reports before the quotient.
    """

    def statistic(counts: Floats) -> Floats:
        matches, ngrams, lengths = np.split(
            counts @ counted, [NGRAM_ORDERS, 2 * NGRAM_ORDERS], axis=1
        )
        guess, truth = lengths.T
        precision = np.divide(matches, ngrams, out=np.zeros_like(matches), where=ngrams > 0)

        # Geometric mean of the precisions up to each order, times the penalty for a generated text
        # that is shorter than the reference. log(0) gives 0 in the end, as in COCO.
        with np.errstate(divide="ignore"):
            mean = np.exp(np.cumsum(np.log(precision), axis=1) / np.arange(1, NGRAM_ORDERS + 1))
            brevity = np.exp(np.minimum(0.0, 1.0 - truth / guess))

        return np.asarray(mean * brevity[:, None])

    return statistic


def _count_matches(generated: Sequence[_Tokens], references: Sequence[_Tokens]) -> Floats:
    """Matches and n-grams by order, and the two lengths, of each report [N, 2 * ORDERS + 2]."""
    rows = [_matches(guess, truth) for guess, truth in zip(generated, references, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2 * NGRAM_ORDERS + 2)


def _matches(guess: _Tokens, truth: _Tokens) -> list[int]:
    """Clipped n-gram matches and n-grams of ``guess`` by order, and the two lengths."""
    ours, theirs = _ngrams(guess), _ngrams(truth)
    # Clipped: an n-gram counts at most as often as the reference has it.
    matched = [(a & b).total() for a, b in zip(ours, theirs, strict=True)]
    return [*matched, *(counter.total() for counter in ours), len(guess), len(truth)]


def _ngrams(tokens: _Tokens) -> list[Counter[tuple[str, ...]]]:
    """How often each n-gram occurs, by order 1 to 4."""
    counters = []
    for order in range(1, NGRAM_ORDERS + 1):
        # The tokens beside themselves shifted by 1, 2, ...: each line across is an n-gram.
        shifted = [tokens[start:] for start in range(order)]
        counters.append(Counter(zip(*shifted, strict=False)))

    return counters


def rouge_l(generated: Sequence[_Tokens], references: Sequence[_Tokens]) -> Floats:
    """F of the longest common subsequence, per report [N]; 0 for an empty generated report."""
    values = []
    for guess, truth in zip(generated, references, strict=True):
        common = _common_length(guess, truth)
        if not common:
            values.append(0.0)
            continue

        precision, recall = common / len(guess), common / len(truth)
        weight = ROUGE_BETA**2
        values.append((1 + weight) * precision * recall / (recall + weight * precision))

    return np.array(values, dtype=np.float64)


def _common_length(first: _Tokens, second: _Tokens) -> int:
    """Length of the longest common subsequence, by Hyyrö's bit-parallel algorithm (2004).

    One integer holds a row of the table of dynamic programming, one bit for each token of
    ``first``.
    """
    positions: dict[str, int] = {}
    for i, token in enumerate(first):
        positions[token] = positions.get(token, 0) | 1 << i

    # A zero bit marks where the length grows by one along the row, so zeros are counted at the end.
    whole = (1 << len(first)) - 1
    row = whole

    for token in second:
        match = row & positions.get(token, 0)
        row = (row + match | row - match) & whole

    return len(first) - row.bit_count()


def cider(generated: Sequence[_Tokens], references: Sequence[_Tokens]) -> Floats:
    """CIDEr-D per report [N]: 10 times a length penalty times the mean over n-gram orders of the
    clipped cosine of tf-idf vectors.
    """
    truths = [_ngrams(truth) for truth in references]
    documents: Counter[tuple[str, ...]] = Counter()
    for truth in truths:
        for counter in truth:
            documents.update(counter.keys())

    everywhere = np.log(max(len(references), 1))

    # Counts times inverse document frequency: an n-gram of every reference weighs nothing.
    def weighted(counter: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
        weights = {}
        for gram, number in counter.items():
            weights[gram] = number * float(everywhere - np.log(max(1, documents[gram])))
        return weights

    values = []
    for guess, truth in zip(map(_ngrams, generated), truths, strict=True):
        # [COCO] counts lengths in pairs of words.
        difference = guess[1].total() - truth[1].total()
        penalty = float(np.exp(-(difference**2) / (2 * CIDER_SIGMA**2)))
        cosines = [_cosine(weighted(a), weighted(b)) for a, b in zip(guess, truth, strict=True)]
        values.append(10 * penalty * sum(cosines) / NGRAM_ORDERS)

    return np.array(values, dtype=np.float64)


def _cosine(guess: dict[tuple[str, ...], float], truth: dict[tuple[str, ...], float]) -> float:
    """Cosine in which a word repeated more often than in ``truth`` counts no more than there."""
    dot = sum(
        min(weight, truth[gram]) * truth[gram] for gram, weight in guess.items() if gram in truth
    )
    length = np.sqrt(sum(w * w for w in guess.values()) * sum(w * w for w in truth.values()))
    return float(dot / length) if length else 0.0
