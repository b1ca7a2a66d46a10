"""Defects painted on good pictures: what a detector of the unknown can learn from and be chosen on without a real one.

Five kinds that surfaces know: a spot (pit, inclusion), a crack (also a scratch), a chip (a piece broken away, its
ground smooth), a rub (the texture is another one there) and a shade (a wide change of brightness). Strengths follow
the picture's own contrast, so any affine scale of grey or colour will do. In the spirit of CutPaste (Li et al. 2021)
and DRAEM (Zavrtanik et al. 2021); shapes and mixtures are ours.

Knows numpy and OpenCV. Knows nothing of networks or data sets.
"""

from collections.abc import Callable

import cv2
import numpy as np

from bundle.tensors import Array

Kind = Callable[[np.random.Generator, Array], tuple[Array, Array]]
"""(generator, float32 [H, W, C]) -> (painted float32 [H, W, C], how much of each pixel is defect, float32 [H, W])."""

MASK_LEVEL = 0.25  # a pixel belongs to the defect from this share of it on: soft rims count, their far ends do not


def paint_defects(
    rng: np.random.Generator, image_HWC: Array, kinds: tuple[str, ...], count: tuple[int, int] = (1, 3)
) -> tuple[Array, Array]:
    """Paint between `count[0]` and `count[1]` defects of random kinds (keys of KINDS).

    Takes float32 [H, W, C] of any scale, 16 pixels a side or more; gives the painted picture and bool [H, W].
    """
    mask_HW = np.zeros(image_HWC.shape[:2], bool)
    for _ in range(rng.integers(count[0], count[1] + 1)):
        image_HWC, cover_HW = KINDS[kinds[rng.integers(len(kinds))]](rng, image_HWC)
        mask_HW |= cover_HW >= MASK_LEVEL
    return image_HWC, mask_HW


def _spot(rng: np.random.Generator, image_HWC: Array) -> tuple[Array, Array]:
    """One to four small pits, mostly darker than their surroundings."""
    height, width = image_HWC.shape[:2]
    cover_HW: Array = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 5)):
        radius = rng.uniform(0.008, 0.045) * min(height, width) + 0.7
        axes = tuple(int(16 * radius * rng.uniform(0.6, 1.6)) for _ in range(2))
        centre = tuple(int(16 * rng.uniform(0.03, 0.97) * side) for side in (width, height))
        cv2.ellipse(cover_HW, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA, 4)
    cover_HW = cv2.GaussianBlur(cover_HW, (0, 0), rng.uniform(0.4, 1.2))
    return _add(image_HWC, cover_HW, _sign(rng, 0.85) * rng.uniform(0.8, 3.0)), cover_HW


def _crack(rng: np.random.Generator, image_HWC: Array) -> tuple[Array, Array]:
    """A thin line that wanders, of changing strength; now and then bright, as a scratch is."""
    height, width = image_HWC.shape[:2]
    side = min(height, width)
    cover_HW: Array = np.zeros((height, width), np.float32)
    at = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    direction, wander = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.6)
    step = max(side * 0.02, 2.0)
    thickness = max(1, round(side * rng.uniform(0.004, 0.016)))
    for _ in range(rng.integers(6, 60)):
        direction += rng.normal(0, wander)
        then = at + step * np.array([np.cos(direction), np.sin(direction)])
        start, end = ((16 * point).astype(int).tolist() for point in (at, then))
        cv2.line(cover_HW, start, end, rng.uniform(0.5, 1.0), thickness, cv2.LINE_AA, 4)
        at = then
    cover_HW = cv2.GaussianBlur(cover_HW, (0, 0), rng.uniform(0.3, 0.9))
    return _add(image_HWC, cover_HW, _sign(rng, 0.85) * rng.uniform(0.7, 3.0)), cover_HW


def _chip(rng: np.random.Generator, image_HWC: Array) -> tuple[Array, Array]:
    """A piece that broke away, mostly at the rim: a smooth ground, darker or brighter, with a sharp edge."""
    cover_HW = _blob(rng, image_HWC.shape[:2], rng.uniform(0.01, 0.12), at_rim=rng.random() < 0.7)
    smooth_HWC = _blurred(image_HWC, 0.05 * min(image_HWC.shape[:2]))
    grain_HW = _blurred(rng.normal(0, 1, cover_HW.shape).astype(np.float32)[..., None], rng.uniform(0.5, 3))
    ground_HWC = smooth_HWC + image_HWC.std() * (_sign(rng, 0.5) * rng.uniform(0.3, 2.0) + rng.uniform(0, 1) * grain_HW)
    return _blend(image_HWC, ground_HWC.astype(np.float32), cover_HW), cover_HW


def _rub(rng: np.random.Generator, image_HWC: Array) -> tuple[Array, Array]:
    """The texture of another place, turned or blurred, in a wide patch."""
    cover_HW = _blob(rng, image_HWC.shape[:2], rng.uniform(0.03, 0.35), at_rim=rng.random() < 0.3)
    height, width = image_HWC.shape[:2]
    other_HWC = np.roll(image_HWC, (rng.integers(height), rng.integers(width)), (0, 1))
    if rng.random() < 0.6:  # against the grain
        turned = cv2.resize(np.rot90(other_HWC), (width, height), interpolation=cv2.INTER_LINEAR)
        other_HWC = turned.reshape(image_HWC.shape)
    if rng.random() < 0.4:
        other_HWC = _blurred(other_HWC, rng.uniform(1, 4))
    grain_HWC = rng.normal(0, rng.uniform(0, 0.5), (height, width, 1)).astype(np.float32)
    shift = rng.normal(0, 0.7)
    other_HWC = other_HWC + image_HWC.std() * (_blurred(grain_HWC, rng.uniform(0.3, 1.5)) * 2 + np.float32(shift))
    strength = np.float32(rng.uniform(0.5, 1.0))
    return _blend(image_HWC, other_HWC.astype(np.float32), strength * cover_HW), cover_HW


def _shade(rng: np.random.Generator, image_HWC: Array) -> tuple[Array, Array]:
    """A wide band or patch that is brighter or darker, with a rim between sharp and soft."""
    cover_HW = _blob(rng, image_HWC.shape[:2], rng.uniform(0.06, 0.4), at_rim=rng.random() < 0.5)
    cover_HW = _blurred(cover_HW[..., None], rng.uniform(0.3, 0.03 * min(cover_HW.shape)))[..., 0]
    return _add(image_HWC, cover_HW, _sign(rng, 0.5) * rng.uniform(0.6, 2.0)), cover_HW


KINDS: dict[str, Kind] = {"spot": _spot, "crack": _crack, "chip": _chip, "rub": _rub, "shade": _shade}
"""What can be painted."""


def _sign(rng: np.random.Generator, share_dark: float) -> float:
    return -1.0 if rng.random() < share_dark else 1.0


def _add(image_HWC: Array, cover_HW: Array, contrasts: float) -> Array:
    """Darker or brighter by so many of the picture's own standard deviations."""
    painted: Array = image_HWC + np.float32(contrasts * image_HWC.std()) * cover_HW[..., None]
    return painted


def _blend(image_HWC: Array, other_HWC: Array, cover_HW: Array) -> Array:
    blended: Array = image_HWC + cover_HW[..., None] * (other_HWC - image_HWC)
    return blended


def _blurred(image_HWC: Array, sigma_px: float) -> Array:
    return cv2.GaussianBlur(image_HWC, (0, 0), max(sigma_px, 0.3)).reshape(image_HWC.shape)


def _blob(rng: np.random.Generator, size: tuple[int, int], share: float, at_rim: bool) -> Array:
    """An irregular patch of about `share` of the picture: a hill with smooth noise on it, cut at its top."""
    height, width = size
    grid = rng.normal(0, 1, tuple(rng.integers(3, 12, 2))).astype(np.float32)
    noise_HW = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    centre = rng.uniform(0.1, 0.9, 2)
    if at_rim:
        centre[rng.integers(2)] = rng.integers(2)
    y, x = np.mgrid[0:height, 0:width]
    stretch = rng.uniform(0.4, 2.5)
    far_HW = np.hypot((y / height - centre[0]) * stretch, (x / width - centre[1]) / stretch)
    hill_HW = rng.uniform(0.05, 0.25) * noise_HW - far_HW
    return (hill_HW >= np.quantile(hill_HW[::4, ::4], 1 - share)).astype(np.float32)
