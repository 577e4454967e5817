"""The curve of the learning rate in closed form; which weights decay; the optimizer's state by
name.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from place_cxr.core.errors import PlaceError
from place_cxr.core.settings import load_settings
from place_cxr.training.optim import (
    OptimSettings,
    build_optimizers,
    learning_rate,
    optimizer_tensors,
    restore_optimizers,
)


def test_the_curve_in_closed_form() -> None:
    settings = OptimSettings(lr=1.0, min_lr=0.1, warmup=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx(
        [0.1 * n for n in range(1, 11)]
    )  # rises in equal parts, the tenth is the peak
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[54] == pytest.approx(0.55)  # half way down: the mean of peak and end
    assert rates[99] == pytest.approx(0.1)
    assert rates[39] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 3)))
    assert all(a > b for a, b in zip(rates[9:], rates[10:], strict=False))


@pytest.mark.parametrize("total", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
def test_short_runs(total: int, warmup: float) -> None:
    settings = OptimSettings(lr=1.0, min_lr=0.01, warmup=warmup)
    rates = [learning_rate(step, total, settings) for step in range(total)]
    assert all(0.01 <= rate <= 1 for rate in rates)
    assert rates[-1] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "bad", ["lr=0", "lr=1e-9", "warmup=1", "betas=[0.9, 1.0]", "clip_norm=0", "weight_decay=-1"]
)
def test_settings_that_cannot_be(bad: str) -> None:
    with pytest.raises(PlaceError, match="PL-C003"):
        load_settings(OptimSettings, "", [bad])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.frozen = nn.Linear(3, 3).requires_grad_(False)


def test_only_matrices_decay_and_frozen_weights_stay_out() -> None:
    [optimizer] = build_optimizers(Net(), OptimSettings(weight_decay=0.3))
    names = [(group["weight_decay"], group["param_names"]) for group in optimizer.param_groups]
    assert names == [
        (0.3, ["body.weight"]),
        (0.0, ["scale", "body.bias", "norm.weight", "norm.bias"]),
    ]
    assert all(group["fused"] for group in optimizer.param_groups)


def test_decay_acts_without_a_gradient_on_matrices_only() -> None:
    net = Net()
    before = {name: value.clone() for name, value in net.named_parameters()}
    [optimizer] = build_optimizers(net, OptimSettings(lr=0.1, weight_decay=0.5))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = dict(net.named_parameters())
    assert torch.allclose(after["body.weight"], before["body.weight"] * 0.95)
    assert all(torch.equal(after[name], before[name]) for name in before if name != "body.weight")


def test_nothing_to_train() -> None:
    with pytest.raises(PlaceError, match="PL-C003"):
        build_optimizers(nn.Linear(2, 2).requires_grad_(False), OptimSettings())


def stepped() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    [optimizer] = build_optimizers(net, OptimSettings(lr=0.1))
    net(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()
    return net, optimizer


def test_state_goes_out_and_in() -> None:
    net, optimizer = stepped()
    state = {name: value.clone() for name, value in optimizer_tensors([optimizer]).items()}
    assert set(state) == {
        f"{w}/{k}" for w in ("weight", "bias") for k in ("step", "exp_avg", "exp_avg_sq")
    }
    copy = nn.Linear(3, 2)
    copy.load_state_dict(net.state_dict())
    [other] = build_optimizers(copy, OptimSettings(lr=0.1))
    restore_optimizers([other], state)
    for model, which in ((net, optimizer), (copy, other)):
        model(torch.full((1, 3), 2.0)).sum().backward()
        which.step()
    assert not torch.equal(optimizer_tensors([optimizer])["bias/exp_avg"], state["bias/exp_avg"])
    restore_optimizers([other], {})  # before the first step there is no state
    assert optimizer_tensors(build_optimizers(nn.Linear(1, 1), OptimSettings())) == {}


@pytest.mark.fault("R1")
def test_moments_of_a_weight_that_lies_channels_last_in_memory() -> None:
    """A file holds numbers in the order of the axes; put back like that, every convolution got
    another's moments.
    """

    def make() -> tuple[nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return net, build_optimizers(net, OptimSettings(lr=0.1))[0]

    def step(net: nn.Conv2d, optimizer: torch.optim.Optimizer, seed: int) -> None:
        net(
            torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        ).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    (whole, optimizer), (resumed, fresh) = make(), make()
    step(whole, optimizer, 1)
    resumed.load_state_dict(whole.state_dict())
    restore_optimizers(
        [fresh],
        {name: value.contiguous() for name, value in optimizer_tensors([optimizer]).items()},
    )
    for net, which in ((whole, optimizer), (resumed, fresh)):
        step(net, which, 2)
    assert torch.equal(whole.weight, resumed.weight)


@pytest.mark.parametrize(
    "change", [lambda s: s.pop("bias/step"), lambda s: s.update({"bias/exp_avg": torch.ones(5)})]
)
def test_state_of_another_model(change: object) -> None:
    _, optimizer = stepped()
    state = dict(optimizer_tensors([optimizer]))
    change(state)  # type: ignore[operator]
    with pytest.raises(PlaceError, match=r"PL-R109.*bias/"):
        restore_optimizers(build_optimizers(nn.Linear(3, 2), OptimSettings()), state)


def test_muon_steps_the_weights_of_linear_layers_alone() -> None:
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.Conv1d(3, 2, 1))
    muon, adamw = build_optimizers(net, OptimSettings(linear="muon", weight_decay=0.3))
    assert [group["param_names"] for group in muon.param_groups] == [["1.weight"]]
    assert [g["param_names"] for g in adamw.param_groups] == [
        ["0.weight", "2.weight"],
        ["1.bias", "2.bias"],
    ]


def test_a_step_of_muon_in_closed_form() -> None:
    """The update is the gradient with its singular values made one, times .2 sqrt(longest side), as
    in the source.
    """
    torch.manual_seed(0)
    net = nn.Linear(6, 4, bias=False)
    [muon] = build_optimizers(net, OptimSettings(linear="muon", lr=0.01, weight_decay=0.5))
    before, gradient = net.weight.detach().clone(), torch.randn(4, 6)
    net.weight.grad = gradient
    muon.step()
    step = (before * (1 - 0.01 * 0.5) - net.weight.detach()) / (0.01 * 0.2 * 6**0.5)
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    assert torch.linalg.svdvals(step) == pytest.approx(
        torch.ones(4), abs=0.35
    )  # five Newton-Schulz steps come close
    assert (left.T @ step @ right.T).diagonal().min() > 0.6  # along the gradient's own directions


def test_state_of_muon_goes_out_and_in() -> None:
    def make() -> tuple[nn.Module, list[torch.optim.Optimizer]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        return net, build_optimizers(net, OptimSettings(linear="muon", lr=0.1))

    def step(net: nn.Module, optimizers: list[torch.optim.Optimizer], value: float) -> None:
        (net(torch.tensor([[1.0, value, 2.0]])) * torch.arange(4)).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    (whole, first), (resumed, second) = make(), make()
    step(whole, first, 3.0)
    resumed.load_state_dict(whole.state_dict())
    restore_optimizers(
        second, {name: value.clone() for name, value in optimizer_tensors(first).items()}
    )
    for net, optimizers in ((whole, first), (resumed, second)):
        step(net, optimizers, -2.0)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True)
    )
    with pytest.raises(PlaceError, match=r"PL-R109.*0\.weight/momentum_buffer"):
        restore_optimizers(make()[1], {"0.bias/step": torch.tensor(1.0)})
