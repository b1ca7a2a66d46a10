"""Pictures for the models of the bench: small digits as PNG, and generated photographs as JPEG.

A photograph here is noise whose strength falls with its frequency, as in pictures of the world, in the colours of its
label: a JPEG of it weighs and decodes like one from a camera. Knows drawing and files. Knows nothing of models.
"""

from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

from bundle.tensors import Array

DIGIT_PX = 28
DIGITS_TEST_EVERY = 5
PHOTO_HEIGHT_PX, PHOTO_WIDTH_PX = 375, 500
PHOTO_BYTES = 50_000
QUALITIES = range(50, 100)
HUES = {"amber": 15, "azure": 105, "emerald": 60, "magenta": 150}
"""Label -> hue, of OpenCV's 180."""
PHOTOS_A_LABEL = {"train": 48, "test": 12}
SEED = 20261121


def write_digits(folder: Path) -> None:
    """The handwritten digits that come with scikit-learn, enlarged: `folder`/<train|test>/<label>/<number>.png."""
    digits = load_digits()
    for i, (image, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        grey = np.clip(np.rint(image * 255 / 16), 0, 255).astype(np.uint8)
        large = cv2.resize(grey, (DIGIT_PX, DIGIT_PX), interpolation=cv2.INTER_CUBIC)
        split = "train" if i % DIGITS_TEST_EVERY else "test"
        _write(folder / split / str(target) / f"{i:04d}.png", cv2.imencode(".png", large)[1])


def write_photos(folder: Path) -> None:
    """Generated photographs: `folder`/<train|test>/<label>/<number>.jpg."""
    for split, count in PHOTOS_A_LABEL.items():
        for label, hue in HUES.items():
            for i in range(count):
                rng = np.random.default_rng((SEED, len(split), hue, i))
                _write(folder / split / label / f"{i:04d}.jpg", as_jpeg(draw_photo(rng, hue)))


def draw_photo(rng: np.random.Generator, hue: int) -> Array:
    """uint8 BGR [height, width, 3] around a hue: clouds of every size, the fine ones faint."""
    planes = [_clouds(rng) for _ in range(3)]
    hue_HW = (hue + 12 * planes[0]) % 180
    saturation_HW = np.clip(150 + 60 * planes[1], 40, 255)
    value_HW = np.clip(128 + 70 * planes[2], 0, 255)
    hsv_HWC = np.stack([hue_HW, saturation_HW, value_HW], axis=2)
    image_HWC: Array = cv2.cvtColor(np.rint(hsv_HWC).clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR)
    return image_HWC


def _clouds(rng: np.random.Generator) -> Array:
    """Float [height, width] of mean 0 and deviation 1, its amplitude falling as one over the frequency."""
    down = np.fft.fftfreq(PHOTO_HEIGHT_PX)[:, None] * PHOTO_HEIGHT_PX
    along = np.fft.rfftfreq(PHOTO_WIDTH_PX)[None, :] * PHOTO_WIDTH_PX
    amplitude = 1 / np.maximum(1, np.hypot(down, along)) ** 1.2
    noise = rng.normal(size=amplitude.shape) + 1j * rng.normal(size=amplitude.shape)
    clouds = np.fft.irfft2(noise * amplitude, s=(PHOTO_HEIGHT_PX, PHOTO_WIDTH_PX))
    standard: Array = (clouds - clouds.mean()) / clouds.std()
    return standard


def as_jpeg(image_HWC: Array) -> Array:
    """The best quality that keeps the file within 50 KB, or the lowest that is tried."""
    low, high = 0, len(QUALITIES)
    encoded = _jpeg(image_HWC, QUALITIES[0])
    while high - low > 1:
        middle = (low + high) // 2
        tried = _jpeg(image_HWC, QUALITIES[middle])
        if len(tried) <= PHOTO_BYTES:
            low, encoded = middle, tried
        else:
            high = middle
    return encoded


def _jpeg(image_HWC: Array, quality: int) -> Array:
    return cv2.imencode(".jpg", image_HWC, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]


def _write(path: Path, encoded: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())
