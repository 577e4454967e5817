"""Goal 16, on one GPU: a training step against its encoders and the peers' steps; alignment.

A step is whole: views cut from uint8 images on the device, model, all losses, clipping, fused
AdamW, the teacher's update. It runs in bfloat16 with ViT-B/16 at 224 px and 12 text layers, on
reports of 89 tokens on average without padding.

Sides run in turn in one process. Each is timed over several calls between two waits for the device;
memory is the most that the allocator held. The published MGCA is not ours to run: the peers are our
own, with the same encoders, and have no loops over a batch.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from perf.measure import Figure, milliseconds, ratios, record_figures, side_milliseconds
from perf.parts import encoders_call, recipe, settings, tokens
from perf.pcma import Similarity, chunked_loss_call, random_observations, similarity_by_loop
from place_cxr.core.tensors import Tokens, move_to_device
from place_cxr.images.views import UNIFORMS_PER_ROW, train_views
from place_cxr.losses import fields_read, total_loss
from place_cxr.losses.pathology import observation_similarity
from place_cxr.models.place import PlaceModel
from place_cxr.models.text import TextEncoder
from place_cxr.pretrain import load_recipe
from place_cxr.training.optim import build_optimizers

DEVICE, ROUNDS, SMALL, LARGE = torch.device("cuda"), 5, 72, 144
PEERS = {"ConVIRT": "phantom-convirt", "GLoRIA": "phantom-gloria", "MGCA": "phantom-mgca"}


def interleave_on_gpu(
    sides: Mapping[str, Callable[[], object]], calls: int = 5
) -> dict[str, list[float]]:
    """Seconds of one call of each side by the clock, A B A B ..., after an unmeasured round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, call in sides.items():
            # The host runs ahead of the device; a wait on both sides times the device's work.
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            torch.cuda.synchronize()

            if number:
                seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def peak_gigabytes(call: Callable[[], object]) -> float:
    """The most that the allocator held during one call, in GB, with what it held before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return round(torch.cuda.max_memory_allocated() / 1e9, 2)


class Method:
    """A method with the encoders of the recipe mimic-vitb16, ready to train on the device."""

    def __init__(self, peer: str) -> None:
        shape, config = settings(), recipe()
        if peer:
            # The peer's losses and the parts that only it has, on our encoders.
            peer_config = load_recipe(peer)
            names = ("correlation", "tokens", "prototypes")
            parts = {name: getattr(peer_config.model, name) for name in names}
            shape = shape.model_copy(update=parts)
            config = config.model_copy(update={"losses": peer_config.losses})

        self.model, self.config = PlaceModel(shape).to(DEVICE).train(), config
        self.model.freeze_unread(fields_read(config.losses))
        self.optimizers = build_optimizers(self.model, config.optim)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]

    def step(self, batch: int) -> Callable[[], None]:
        """A call that takes one training step."""
        text = tokens_on_gpu(batch)
        uniform = torch.rand(batch, UNIFORMS_PER_ROW, device=DEVICE)
        pixels = torch.randint(256, (batch, 256, 256), dtype=torch.uint8, device=DEVICE)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                views = train_views(pixels, uniform, self.config.views)
                value, _ = total_loss(self.model(views, text), self.config.losses)
            value.backward()

            nn.utils.clip_grad_norm_(self.trained, 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self.model.update_teacher()

        return run

    def encoders(self, batch: int) -> Callable[[], None]:
        """A call of both encoders, forward and backward."""
        fp32_call = encoders_call(self.model, batch)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                fp32_call()

        return run


def tokens_on_gpu(batch: int) -> Tokens:
    """Synthetic reports on the device."""
    return move_to_device(tokens(batch), DEVICE)


def pcma_call(form: Similarity, batch: int) -> Callable[[], object]:
    """A call of PCMA's similarity over all pairs, forward and backward."""
    visual, text, mask = random_observations(batch, device="cuda")

    def run() -> object:
        unit_visual = nn.functional.normalize(visual, dim=-1)
        unit_text = nn.functional.normalize(text, dim=-1)
        value = form(unit_visual, unit_text, mask)
        return torch.autograd.grad(value.diagonal().sum(), (visual, text))

    return run


def step_figures(method: Method) -> list[Figure]:
    """Samples a second of a whole step, against the encoders alone."""
    results = []
    for batch in (LARGE, 4 * LARGE):
        step = method.step(batch)
        seconds = interleave_on_gpu({"step": step, "encoders": method.encoders(batch)})
        notes = side_milliseconds(seconds) | {"GB": peak_gigabytes(step)}
        rates = [batch / second for second in seconds["step"]]
        results += [
            Figure(
                f"training step, B={batch}",
                "a fixed number",
                rates,
                1900,
                "higher",
                "samples/s",
                "16",
                notes,
            ),
            Figure(
                f"rate of a whole step, B={batch}",
                "encoders alone, forward and backward",
                ratios(seconds["encoders"], seconds["step"]),
                0.93,
                "higher",
                number="16",
            ),
        ]
    return results


def method_figures(method: Method) -> list[Figure]:
    """A step of PLACE against each peer's, with the same encoders.

    Batches are MGCA's own (72) and twice that.
    """
    results = []
    by_name = {"PLACE": method} | {name: Method(peer) for name, peer in PEERS.items()}

    for batch in (SMALL, LARGE):
        seconds = interleave_on_gpu({name: side.step(batch) for name, side in by_name.items()})
        for name in PEERS:
            notes = {"ms": milliseconds(seconds[name]), "PLACE ms": milliseconds(seconds["PLACE"])}
            times = ratios(seconds["PLACE"], seconds[name])
            results.append(
                Figure(f"step of PLACE, B={batch}", f"{name}, our own", times, notes=notes)
            )
    return results


def text_figures() -> list[Figure]:
    """The text encoder on real tokens alone, and padded."""
    encoder = TextEncoder(settings().text).to(DEVICE).train()
    batch = tokens_on_gpu(LARGE)

    def unpadded() -> Tensor:
        return encoder(batch).local

    def padded() -> Tensor:
        return encoder.body(input_ids=batch.ids, attention_mask=batch.mask.long()).last_hidden_state

    def both_passes(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            encoder.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                states = forward()
            states.backward(torch.full_like(states, 1e-3))

        return run

    sides = {"unpadded": both_passes(unpadded), "padded": both_passes(padded)}
    seconds = interleave_on_gpu(sides)
    notes = side_milliseconds(seconds)
    return [
        Figure(
            f"unpadded text encoder, B={LARGE}",
            "padded",
            ratios(seconds["unpadded"], seconds["padded"]),
            notes=notes,
        )
    ]


def pcma_figures() -> list[Figure]:
    """Time and memory of alignment as the batch grows, and against the loop over reports."""
    ours, slow = pcma_call(observation_similarity, LARGE), pcma_call(similarity_by_loop, LARGE)
    seconds = interleave_on_gpu({"ours": ours, "loop": slow}, 3)
    notes = side_milliseconds(seconds)
    results = [
        Figure(
            f"PCMA time, B={LARGE}",
            "loop over reports",
            ratios(seconds["ours"], seconds["loop"]),
            notes=notes,
        )
    ]
    # Chunks bound the memory, which otherwise grows with the square of the batch.
    for batch, chunk in ((1024, 256), (4096, 64)):
        free_memory()
        call = chunked_loss_call(batch, chunk, "cuda")
        call_seconds = interleave_on_gpu({"ours": call}, 2)["ours"]
        results.append(
            Figure(
                f"PCMA, B={batch}, chunks of {chunk}",
                "no baseline",
                [1e3 * second for second in call_seconds],
                unit="ms",
                notes={"GB": peak_gigabytes(call)},
            )
        )
    return results


def copy_figures() -> list[Figure]:
    """Copying a batch of images to the device: from pinned, against pageable memory."""
    plain = torch.randint(256, (LARGE, 256, 256), dtype=torch.uint8)
    pinned = plain.pin_memory()
    sides = {
        "pinned": lambda: pinned.to(DEVICE, non_blocking=True),
        "pageable": lambda: plain.to(DEVICE),
    }
    seconds = interleave_on_gpu(sides, 20)
    notes = side_milliseconds(seconds)
    return [
        Figure(
            f"uint8 batch to the device, B={LARGE}",
            "pageable memory",
            ratios(seconds["pinned"], seconds["pageable"]),
            notes=notes,
        )
    ]


def free_memory() -> None:
    """Return unused memory to the device."""
    gc.collect()
    torch.cuda.empty_cache()


def figures() -> list[Figure]:
    """All of them."""
    torch.manual_seed(0)
    method = Method("")
    results = [*step_figures(method), *method_figures(method)]

    del method
    free_memory()
    return [*results, *text_figures(), *pcma_figures(), *copy_figures()]


if __name__ == "__main__":
    if torch.cuda.is_available():
        record_figures("gpu", figures())
    else:
        print("there is no GPU: nothing is measured")
