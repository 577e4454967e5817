"""Views: exact crops, functions of a row's numbers alone, one geometry for both images."""

import pytest
import torch
from torch import Tensor

from place_cxr.core.errors import PlaceError
from place_cxr.images.views import UNIFORMS_PER_ROW, ViewSettings, eval_view, train_views, view_box

PACK, SIZE = 40, 32
FULL = ViewSettings(
    size=SIZE,
    degrees=10,
    scale=(0.8, 1.25),
    brightness=0.1,
    contrast=0.2,
    gamma=0.3,
    noise=0.05,
    mask_ratio=0.5,
    mask_grid=8,
)


def batch(count: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, PACK, PACK), dtype=torch.uint8, generator=source)
    return pixels, torch.rand(count, UNIFORMS_PER_ROW, generator=source)


def view_settings(**changes: object) -> ViewSettings:
    return ViewSettings(size=SIZE, **changes)  # type: ignore[arg-type]


def to_levels(view: Tensor) -> Tensor:
    return ((view + 1) * 127.5).round().to(torch.uint8)


def test_eval_view_is_the_exact_center() -> None:
    pixels, _ = batch()
    left, top, side = view_box(view_settings(), PACK)
    assert (left, top, side) == (4, 4, SIZE)
    assert torch.equal(to_levels(eval_view(pixels, view_settings()))[:, 0], pixels[:, 4:36, 4:36])
    extremes = torch.tensor([0, 255], dtype=torch.uint8).expand(1, 20, 2).repeat(1, 1, 10)
    assert eval_view(extremes, ViewSettings(size=20)).unique().tolist() == pytest.approx([-1, 1])


def test_plain_crop_copies_pixels_and_reaches_every_corner() -> None:
    pixels, uniform = batch(400)
    views = train_views(pixels, uniform, view_settings())
    assert torch.equal(views.image, views.clean)
    corners = set()
    for square, crop, numbers in zip(pixels, to_levels(views.clean)[:, 0], uniform, strict=True):
        top, left = (int(numbers[i] * 9) for i in (0, 1))
        assert torch.equal(crop, square[top : top + SIZE, left : left + SIZE])
        corners.add((top, left))
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(9))


@pytest.mark.parametrize("pack", [32, 33, 40])
def test_identity_settings_give_the_evaluation_view(pack: int) -> None:
    pixels, uniform = batch()
    pixels = pixels[:, :pack, :pack].contiguous()
    assert torch.equal(
        train_views(pixels, uniform, view_settings(shift=0.0)).image,
        eval_view(pixels, view_settings()),
    )


def test_sampling_without_change_equals_the_crop() -> None:
    pixels, uniform = batch()
    turned = train_views(pixels, uniform, view_settings(degrees=1e-9)).clean
    assert torch.allclose(turned, train_views(pixels, uniform, view_settings()).clean, atol=2e-4)


def test_quarter_turn_is_counter_clockwise_or_clockwise_but_never_mirrored() -> None:
    pixels, uniform = batch(1)
    uniform[:, 2] = 1.0 - 2**-24  # the largest angle
    view = to_levels(train_views(pixels, uniform, view_settings(degrees=90, shift=0)).clean)[
        0, 0
    ].float()
    straight = eval_view(pixels, view_settings())[0, 0].add(1).mul(127.5)
    assert (view - straight.rot90(1)).abs().mean() < 1 or (
        view - straight.rot90(-1)
    ).abs().mean() < 1


def test_scale_magnifies_and_outside_is_black() -> None:
    disc = torch.zeros(1, PACK, PACK, dtype=torch.uint8)
    disc[:, 12:28, 12:28] = 200
    _, uniform = batch(1)
    lit = {
        factor: (
            train_views(disc, uniform, view_settings(scale=(factor, factor), shift=0)).clean > 0
        )
        .sum()
        .item()
        for factor in (0.5, 1.0, 1.5)
    }
    assert (
        lit[0.5] == pytest.approx(64, rel=0.1)
        and lit[1.0] == 256
        and lit[1.5] == pytest.approx(576, rel=0.1)
    )
    white = torch.full_like(disc, 255)
    small = train_views(white, uniform, view_settings(scale=(0.5, 0.5), shift=0)).clean[0, 0]
    assert small[0, 0] == -1 and small[16, 16] == 1


def test_one_row_is_the_same_in_any_batch() -> None:
    pixels, uniform = batch()
    together = train_views(pixels, uniform, FULL)
    for row in range(8):
        alone = train_views(pixels[row : row + 1], uniform[row : row + 1], FULL)
        assert torch.equal(alone.image[0], together.image[row])
        assert torch.equal(alone.clean[0], together.clean[row])
    backwards = train_views(pixels.flip(0), uniform.flip(0), FULL)
    assert torch.equal(backwards.image.flip(0), together.image)


def test_views_depend_on_the_numbers_and_stay_in_range() -> None:
    pixels, uniform = batch()
    views = train_views(pixels, uniform, FULL)
    assert (
        views.image.min() >= -1
        and views.image.max() <= 1
        and views.image.shape == (8, 1, SIZE, SIZE)
    )
    for column in range(UNIFORMS_PER_ROW):
        other = uniform.clone()
        other[:, column] = (other[:, column] + 0.37) % 1
        assert not torch.equal(train_views(pixels, other, FULL).image, views.image), column


def test_clean_has_the_geometry_of_image_and_nothing_else() -> None:
    pixels, uniform = batch()
    views = train_views(pixels, uniform, FULL)
    geometry = FULL.model_copy(
        update={"brightness": 0, "contrast": 0, "gamma": 0, "noise": 0, "mask_ratio": 0}
    )
    plain = train_views(pixels, uniform, geometry)
    assert torch.equal(views.clean, plain.clean) and torch.equal(plain.image, plain.clean)
    # Grey changes alone keep the order of pixels: the same image, not a moved one.
    gray = train_views(
        pixels, uniform, FULL.model_copy(update={"noise": 0, "mask_ratio": 0, "brightness": 0})
    )
    for image, clean in zip(gray.image, gray.clean, strict=True):
        order = clean.flatten().argsort()
        assert (image.flatten()[order].diff() >= -1e-6).all()
        assert not torch.equal(image, clean)


def test_gray_changes_have_the_size_they_say() -> None:
    pixels, uniform = batch(256)
    pixels = pixels // 2 + 64
    base = eval_view(pixels, view_settings())
    brighter = train_views(pixels, uniform, view_settings(shift=0, brightness=0.1)).image - base
    assert 0.18 < brighter.max() <= 0.2 + 1e-6 and -0.2 - 1e-6 <= brighter.min() < -0.18
    assert brighter.flatten(1).std(1).max() < 1e-5
    factor = train_views(pixels, uniform, view_settings(shift=0, contrast=0.2)).image / base
    assert 1.18 < factor.nanmedian(dim=-1).values.max() <= 1.2 + 1e-3


def test_noise_is_centerd_bell_shaped_and_white() -> None:
    pixels = torch.full((64, PACK, PACK), 127, dtype=torch.uint8)
    _, uniform = batch(64)
    noise = train_views(pixels, uniform, view_settings(noise=0.05)).image - (127 / 127.5 - 1)
    assert abs(noise.mean()) < 1e-3 and noise.std() == pytest.approx(0.1, rel=0.02)
    assert (noise.abs() < 0.1).float().mean() == pytest.approx(0.683, abs=0.02)
    unit = noise[:, 0] / noise.std()
    for product in (
        unit[:, 1:] * unit[:, :-1],
        unit[:, :, 1:] * unit[:, :, :-1],
        unit[1:] * unit[:-1],
    ):
        assert abs(product.mean()) < 0.02  # 5 deviations of a mean over 64 k products


def test_mask_hides_exactly_its_fraction_in_whole_cells() -> None:
    pixels = torch.full((64, PACK, PACK), 255, dtype=torch.uint8)
    _, uniform = batch(64)
    views = train_views(pixels, uniform, view_settings(mask_ratio=0.3, mask_grid=8))
    cells = views.image.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert torch.equal(cells.amin(-1), cells.amax(-1)) and set(cells.unique().tolist()) == {
        0.0,
        1.0,
    }
    hidden = (cells[..., 0] == 0).flatten(1)
    assert (hidden.sum(1) == round(0.3 * 64)).all()
    assert len(hidden.unique(dim=0)) == 64
    assert hidden.float().mean(0).min() > 0.05 and hidden.float().mean(0).max() < 0.6
    assert (views.clean == 1).all()


def test_grid_that_does_not_divide_the_view() -> None:
    pixels, uniform = batch()
    image = train_views(pixels, uniform, view_settings(mask_ratio=0.5, mask_grid=7)).image
    assert image.shape == (8, 1, SIZE, SIZE) and 0.3 < (image == 0).float().mean() < 0.7


def test_what_does_not_fit_is_refused() -> None:
    pixels, uniform = batch()
    for call in (
        lambda: eval_view(pixels, ViewSettings(size=41)),
        lambda: train_views(pixels, uniform, ViewSettings(size=41)),
    ):
        with pytest.raises(PlaceError, match="PL-C013"):
            call()
    with pytest.raises(ValueError, match="random numbers"):
        train_views(pixels, uniform[:, :5], view_settings())
    for wrong in ((1.2, 0.8), (0.0, 1.0)):
        with pytest.raises(ValueError, match="scale"):
            view_settings(scale=wrong)
