"""Goal 16, on one GPU: what a training step costs beside its encoders and beside the peers, and
what alignment takes.

A step is whole: views cut from uint8 pictures on the device, model, all losses, clipping, fused
AdamW, the teacher's update; bfloat16, ViT-B/16 at 224 px, 12 text layers, reports of 89 tokens on
average without padding. Sides run in turn in one process, each timed over several calls between two
waits for the device; memory is the most the allocator held. The published MGCA is not ours to run:
the peers are our own, with the same encoders, and have no loops over a batch.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from perf.measure import Figure, milliseconds, ratios, record_figures
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
    """Seconds of one call of each side by the clock, A B A B ..., after a round that does not
    count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, call in sides.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            torch.cuda.synchronize()
            if number:
                seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def peak_gigabytes(call: Callable[[], object]) -> float:
    """The most that the allocator held during one call, all that was there before included."""
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
            theirs = load_recipe(peer)
            parts = {
                name: getattr(theirs.model, name)
                for name in ("correlation", "tokens", "prototypes")
            }
            shape, config = (
                shape.model_copy(update=parts),
                config.model_copy(update={"losses": theirs.losses}),
            )
        self.model, self.config = PlaceModel(shape).to(DEVICE).train(), config
        self.model.freeze_unread(fields_read(config.losses))
        self.optimizers = build_optimizers(self.model, config.optim)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]

    def step(self, batch: int) -> Callable[[], None]:
        """A call that takes one training step."""
        text, chance = tokens_on_gpu(batch), torch.rand(batch, UNIFORMS_PER_ROW, device=DEVICE)
        pixels = torch.randint(256, (batch, 256, 256), dtype=torch.uint8, device=DEVICE)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                views = train_views(pixels, chance, self.config.views)
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
        bare = encoders_call(self.model, batch)

        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16):
                bare()

        return run


def tokens_on_gpu(batch: int) -> Tokens:
    """Made-up reports on the device."""
    return move_to_device(tokens(batch), DEVICE)


def pcma_call(form: Similarity, batch: int) -> Callable[[], object]:
    """A call of PCMA's similarity over all pairs, forward and backward."""
    visual, text, mask = random_observations(batch, device="cuda")

    def run() -> object:
        value = form(
            nn.functional.normalize(visual, dim=-1), nn.functional.normalize(text, dim=-1), mask
        )
        return torch.autograd.grad(value.diagonal().sum(), (visual, text))

    return run


def step_figures(place: Method) -> list[Figure]:
    """Samples a second of a whole step, against the encoders alone."""
    found = []
    for batch in (LARGE, 4 * LARGE):
        step = place.step(batch)
        seconds = interleave_on_gpu({"step": step, "encoders": place.encoders(batch)})
        about = {f"{name} ms": milliseconds(side) for name, side in seconds.items()}
        about["GB"] = peak_gigabytes(step)
        rates = [batch / second for second in seconds["step"]]
        found += [
            Figure(
                f"training step, B={batch}",
                "a fixed number",
                rates,
                1900,
                "higher",
                "samples/s",
                "16",
                about,
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
    return found


def method_figures(place: Method) -> list[Figure]:
    """A step of PLACE against one of each peer with the same encoders, at MGCA's batch and at twice
    that.
    """
    found = []
    known = {"PLACE": place} | {name: Method(peer) for name, peer in PEERS.items()}
    for batch in (SMALL, LARGE):
        seconds = interleave_on_gpu({name: method.step(batch) for name, method in known.items()})
        for name in PEERS:
            about = {"ms": milliseconds(seconds[name]), "PLACE ms": milliseconds(seconds["PLACE"])}
            times = ratios(seconds["PLACE"], seconds[name])
            found.append(
                Figure(f"step of PLACE, B={batch}", f"{name}, our own", times, notes=about)
            )
    return found


def text_figures() -> list[Figure]:
    """The text encoder on real tokens alone, and padded."""
    encoder = TextEncoder(settings().text).to(DEVICE).train()
    batch = tokens_on_gpu(LARGE)

    def both_passes(states: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            encoder.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                said = states()
            said.backward(torch.full_like(said, 1e-3))

        return run

    seconds = interleave_on_gpu(
        {
            "unpadded": both_passes(lambda: encoder(batch).local),
            "padded": both_passes(
                lambda: (
                    encoder.body(
                        input_ids=batch.ids, attention_mask=batch.mask.long()
                    ).last_hidden_state
                )
            ),
        }
    )
    about = {f"{name} ms": milliseconds(side) for name, side in seconds.items()}
    return [
        Figure(
            f"unpadded text encoder, B={LARGE}",
            "padded",
            ratios(seconds["unpadded"], seconds["padded"]),
            notes=about,
        )
    ]


def pcma_figures() -> list[Figure]:
    """Time and memory of alignment as the batch grows, and against the loop over reports."""
    ours, slow = pcma_call(observation_similarity, LARGE), pcma_call(similarity_by_loop, LARGE)
    seconds = interleave_on_gpu({"ours": ours, "loop": slow}, 3)
    about = {f"{name} ms": milliseconds(side) for name, side in seconds.items()}
    found = [
        Figure(
            f"PCMA time, B={LARGE}",
            "loop over reports",
            ratios(seconds["ours"], seconds["loop"]),
            notes=about,
        )
    ]
    for batch, chunk in ((1024, 256), (4096, 64)):
        free_memory()
        call = chunked_loss_call(batch, chunk, "cuda")
        took = interleave_on_gpu({"ours": call}, 2)["ours"]
        found.append(
            Figure(
                f"PCMA, B={batch}, chunks of {chunk}",
                "no baseline",
                [1e3 * second for second in took],
                unit="ms",
                notes={"GB": peak_gigabytes(call)},
            )
        )
    return found


def copy_figures() -> list[Figure]:
    """Bringing a batch of pictures to the device: pinned, against pageable memory."""
    plain = torch.randint(256, (LARGE, 256, 256), dtype=torch.uint8)
    pinned = plain.pin_memory()
    sides = {
        "pinned": lambda: pinned.to(DEVICE, non_blocking=True),
        "pageable": lambda: plain.to(DEVICE),
    }
    seconds = interleave_on_gpu(sides, 20)
    about = {f"{name} ms": milliseconds(side) for name, side in seconds.items()}
    return [
        Figure(
            f"uint8 batch to the device, B={LARGE}",
            "pageable memory",
            ratios(seconds["pinned"], seconds["pageable"]),
            notes=about,
        )
    ]


def free_memory() -> None:
    """Give back what nothing holds."""
    gc.collect()
    torch.cuda.empty_cache()


def figures() -> list[Figure]:
    """All of them."""
    torch.manual_seed(0)
    found = []
    place = Method("")
    found += [*step_figures(place), *method_figures(place)]
    del place
    free_memory()
    return [*found, *text_figures(), *pcma_figures(), *copy_figures()]


if __name__ == "__main__":
    if torch.cuda.is_available():
        record_figures("gpu", figures())
    else:
        print("there is no GPU: nothing is measured")
