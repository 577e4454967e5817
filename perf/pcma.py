"""Goals 5 and 6: PCMA over all pairs of images and reports, by Gram matrices, against the two usual
forms of it.

``loop``: report by report, as GLoRIA and PRIOR lay it out. ``context``: one einsum that forms the
[B, B, S, D] tensor of what each sentence selects in each image. K=16 queries, S=12 sentences,
D=256, forward and backward, float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from perf.measure import (
    Figure,
    interleave,
    milliseconds,
    one_thread,
    peak_mebibytes,
    ratios,
    report,
)
from place_cxr.core.tensors import Observations, PlaceOutputs
from place_cxr.losses.pathology import observation_similarity, pathology_pair

QUERIES, SENTENCES, WIDTH, TEMPERATURE, ROUNDS = 16, 12, 256, 0.1, 5
Similarity = Callable[[Tensor, Tensor, Tensor], Tensor]


def vectors(
    batch: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    """V-PORs and T-PORs before they are normalised, and which sentences exist: 3 to 12 a report."""
    generator = torch.Generator().manual_seed(0)
    visual = torch.randn(batch, QUERIES, WIDTH, generator=generator, dtype=torch.float64)
    text = torch.randn(batch, SENTENCES, WIDTH, generator=generator, dtype=torch.float64)
    mask = torch.arange(SENTENCES)[None] < (torch.arange(batch) % 10 + 3)[:, None]
    return (
        visual.to(device, dtype).requires_grad_(),
        text.to(device, dtype).requires_grad_(),
        mask.to(device),
    )


def loop(visual: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """[B, B] report by report."""
    columns = []
    for stated, there in zip(text, mask, strict=True):
        weight = (visual @ stated.T / TEMPERATURE).softmax(1)  # [B, K, S]
        context = weight.transpose(1, 2) @ visual  # [B, S, D]
        cosine = F.cosine_similarity(context, stated[None], dim=-1)
        columns.append((cosine * there).sum(-1) / there.sum())
    return torch.stack(columns, 1)


def context(visual: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """[B, B] at once, every context vector in memory."""
    weight = (torch.einsum("ikd,rsd->irks", visual, text) / TEMPERATURE).softmax(2)
    selected = torch.einsum("irks,ikd->irsd", weight, visual)
    cosine = F.cosine_similarity(selected, text[None], dim=-1)
    return (cosine * mask).sum(-1) / mask.sum(-1)


def both_passes(
    form: Similarity, batch: int, dtype: torch.dtype = torch.float32
) -> Callable[[], list[Tensor]]:
    """A call that gives the similarity and the gradient of a fixed weighting of it."""
    visual, text, mask = vectors(batch, dtype)
    weight = torch.randn(
        batch, batch, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).to(dtype)

    def run() -> list[Tensor]:
        value = form(F.normalize(visual, dim=-1), F.normalize(text, dim=-1), mask)
        return [
            value.detach(),
            *torch.autograd.grad((value * weight).sum() / batch, (visual, text)),
        ]

    return run


def chunked(batch: int, chunk: int, device: str = "cpu") -> Callable[[], object]:
    """A call of the loss itself, ``chunk`` reports at a time, forward and backward."""
    visual, text, mask = vectors(batch, device=device)

    def run() -> object:
        seen, stated = F.normalize(visual, dim=-1), F.normalize(text, dim=-1)
        out = PlaceOutputs(
            image=seen[:, 0],
            text=stated[:, 0],
            scale=torch.ones((), device=device),
            visual=Observations(seen, torch.ones(seen.shape[:2], dtype=torch.bool, device=device)),
            attention=torch.ones(batch, QUERIES, 1, device=device),
            patches=seen[:, :1],
            textual=Observations(stated, mask),
            sentence_key=mask.long(),
            report_key=torch.arange(batch, device=device),
            correlation=None,
        )
        return torch.autograd.grad(pathology_pair(out, chunk=chunk), (visual, text))

    return run


def furthest(form: Similarity, batch: int, dtype: torch.dtype) -> float:
    """The largest difference from our form in any value or gradient."""
    ours, theirs = (
        both_passes(observation_similarity, batch, dtype)(),
        both_passes(form, batch, dtype)(),
    )
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def figures() -> list[Figure]:
    """Time and memory at 128, equality, memory in chunks at 512."""
    one_thread()
    ours, slow = both_passes(observation_similarity, 128), both_passes(loop, 128)
    seconds = interleave({"ours": ours, "loop": slow}, ROUNDS, {"ours": 3})
    times = {f"{name} ms": milliseconds(side) for name, side in seconds.items()}
    peak = {
        name: peak_mebibytes(both_passes(form, 128))
        for name, form in (("ours", observation_similarity), ("context", context))
    }
    peaks = {f"{name} MiB": round(size) for name, size in peak.items()}
    cut = peak_mebibytes(chunked(128, 32))
    return [
        Figure(
            "PCMA time, B=128",
            "loop over reports",
            ratios(seconds["ours"], seconds["loop"]),
            0.25,
            number="5",
            about=times,
        ),
        Figure(
            "PCMA peak memory, B=128",
            "context einsum",
            [peak["ours"] / peak["context"]],
            0.10,
            number="5",
            about=peaks,
        ),
        Figure(
            "PCMA peak memory, B=128, chunks of 32",
            "context einsum",
            [cut / peak["context"]],
            0.10,
            number="5",
        ),
        Figure(
            "furthest value or gradient, float32",
            "loop",
            [furthest(loop, 64, torch.float32)],
            1e-6,
            unit="",
            number="5",
        ),
        Figure(
            "furthest value or gradient, float64",
            "loop",
            [furthest(loop, 16, torch.float64)],
            1e-12,
            unit="",
        ),
        Figure(
            "PCMA peak memory, B=512, chunks of 32",
            "a fixed number",
            [peak_mebibytes(chunked(512, 32))],
            600,
            unit="MiB",
            number="6",
        ),
    ]


if __name__ == "__main__":
    report("pcma", figures())
