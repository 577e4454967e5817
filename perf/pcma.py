"""Goals 5 and 6: PCMA over all pairs of images and reports, against the two usual forms of it.

Ours computes it by Gram matrices. ``similarity_by_loop`` goes report by report, as GLoRIA and PRIOR
lay it out. ``similarity_by_einsum`` forms the [B, B, S, D] tensor of what each sentence selects in
each image. K=16 queries, S=12 sentences, D=256, forward and backward, float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from perf.measure import (
    Figure,
    interleave,
    peak_mebibytes,
    ratios,
    record_figures,
    side_milliseconds,
    use_one_thread,
)
from place_cxr.core.tensors import Observations, PlaceOutputs
from place_cxr.losses.pathology import observation_similarity, pathology_pair

QUERIES, SENTENCES, WIDTH, TEMPERATURE, ROUNDS = 16, 12, 256, 0.1, 5
Similarity = Callable[[Tensor, Tensor, Tensor], Tensor]


def random_observations(
    batch: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """V-PORs [B, K, D], T-PORs [B, S, D], both not normalized, and which sentences exist [B, S]."""
    generator = torch.Generator().manual_seed(0)
    # Drawn in float64, so that every precision sees the same numbers.
    visual = torch.randn(batch, QUERIES, WIDTH, generator=generator, dtype=torch.float64)
    text = torch.randn(batch, SENTENCES, WIDTH, generator=generator, dtype=torch.float64)
    # 3 to 12 sentences in a report.
    mask = torch.arange(SENTENCES)[None] < (torch.arange(batch) % 10 + 3)[:, None]
    return (
        visual.to(device, dtype).requires_grad_(),
        text.to(device, dtype).requires_grad_(),
        mask.to(device),
    )


def similarity_by_loop(visual: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """[B, B] similarity, report by report."""
    columns = []
    for sentences, exists in zip(text, mask, strict=True):
        # Each sentence weights the queries of every image; K, S, D as in the module's docstring.
        weight = (visual @ sentences.T / TEMPERATURE).softmax(1)  # [B, K, S]
        context = weight.transpose(1, 2) @ visual  # [B, S, D]
        cosine = F.cosine_similarity(context, sentences[None], dim=-1)
        columns.append((cosine * exists).sum(-1) / exists.sum())

    return torch.stack(columns, 1)


def similarity_by_einsum(visual: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """[B, B] similarity at once, with every context vector in memory."""
    # i: image, r: report, k: query, s: sentence.
    weight = (torch.einsum("ikd,rsd->irks", visual, text) / TEMPERATURE).softmax(2)
    context = torch.einsum("irks,ikd->irsd", weight, visual)
    cosine = F.cosine_similarity(context, text[None], dim=-1)
    return (cosine * mask).sum(-1) / mask.sum(-1)


def similarity_call(
    form: Similarity, batch: int, dtype: torch.dtype = torch.float32
) -> Callable[[], list[Tensor]]:
    """A call that gives the similarity and the gradient of a fixed weighting of it."""
    visual, text, mask = random_observations(batch, dtype)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(batch, batch, generator=generator, dtype=torch.float64).to(dtype)

    def run() -> list[Tensor]:
        value = form(F.normalize(visual, dim=-1), F.normalize(text, dim=-1), mask)
        gradients = torch.autograd.grad((value * weight).sum() / batch, (visual, text))
        return [value.detach(), *gradients]

    return run


def chunked_loss_call(batch: int, chunk: int, device: str = "cpu") -> Callable[[], object]:
    """A call of the loss itself, ``chunk`` reports at a time, forward and backward."""
    visual, text, mask = random_observations(batch, device=device)

    def run() -> object:
        images, sentences = F.normalize(visual, dim=-1), F.normalize(text, dim=-1)
        every_query = torch.ones(batch, QUERIES, dtype=torch.bool, device=device)
        # The loss reads the observations; the other fields only have to exist.
        out = PlaceOutputs(
            image=images[:, 0],
            text=sentences[:, 0],
            scale=torch.ones((), device=device),
            visual=Observations(images, every_query),
            attention=torch.ones(batch, QUERIES, 1, device=device),
            patches=images[:, :1],
            textual=Observations(sentences, mask),
            sentence_key=mask.long(),
            report_key=torch.arange(batch, device=device),
            correlation=None,
        )
        return torch.autograd.grad(pathology_pair(out, chunk=chunk), (visual, text))

    return run


def largest_difference(form: Similarity, batch: int, dtype: torch.dtype) -> float:
    """The largest absolute difference from our form in any value or gradient."""
    ours, theirs = (
        similarity_call(observation_similarity, batch, dtype)(),
        similarity_call(form, batch, dtype)(),
    )
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def figures() -> list[Figure]:
    """Time and memory at 128, equality, memory in chunks at 512."""
    use_one_thread()
    ours = similarity_call(observation_similarity, 128)
    loop = similarity_call(similarity_by_loop, 128)
    seconds = interleave({"ours": ours, "loop": loop}, ROUNDS, {"ours": 3})

    peak_ours = peak_mebibytes(ours)
    peak_einsum = peak_mebibytes(similarity_call(similarity_by_einsum, 128))
    peaks = {"ours MiB": round(peak_ours), "context MiB": round(peak_einsum)}
    peak_chunked = peak_mebibytes(chunked_loss_call(128, 32))

    # The first goal is a quarter of the loop's time, the second a tenth of the einsum's memory.
    return [
        Figure(
            "PCMA time, B=128",
            "loop over reports",
            ratios(seconds["ours"], seconds["loop"]),
            0.25,
            number="5",
            notes=side_milliseconds(seconds),
        ),
        Figure(
            "PCMA peak memory, B=128",
            "context einsum",
            [peak_ours / peak_einsum],
            0.10,
            number="5",
            notes=peaks,
        ),
        Figure(
            "PCMA peak memory, B=128, chunks of 32",
            "context einsum",
            [peak_chunked / peak_einsum],
            0.10,
            number="5",
        ),
        Figure(
            "furthest value or gradient, float32",
            "loop",
            [largest_difference(similarity_by_loop, 64, torch.float32)],
            1e-6,
            unit="",
            number="5",
        ),
        Figure(
            "furthest value or gradient, float64",
            "loop",
            [largest_difference(similarity_by_loop, 16, torch.float64)],
            1e-12,
            unit="",
        ),
        Figure(
            "PCMA peak memory, B=512, chunks of 32",
            "a fixed number",
            [peak_mebibytes(chunked_loss_call(512, 32))],
            600,
            unit="MiB",
            number="6",
        ),
    ]


if __name__ == "__main__":
    record_figures("pcma", figures())
