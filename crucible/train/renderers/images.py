"""The size of an image, from its first bytes, and how many positions Qwen3-VL gives it. Nothing is decoded."""

import math
import struct
from typing import NamedTuple

from crucible.train.types import ImageChunk, ImagePart

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the start-of-frame markers, which say the size
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # the markers without a length


class ImageSize(NamedTuple):
    """The size of an image in pixels."""

    width: int
    height: int


def image_size(image: ImagePart) -> ImageSize | None:
    """Read the size of an image; None when its bytes are not of its format, or break off.

    >>> image_size(ImagePart(data=b"nothing", format="png")) is None
    True
    """
    try:
        return _png_size(image.data) if image.format == "png" else _jpeg_size(image.data)
    except (struct.error, IndexError):
        return None


def qwen3_vl_chunk(image: ImagePart, *, max_pixels: int = 16_777_216, min_pixels: int = 65_536) -> ImageChunk | None:
    """Give the image with the number of positions that Qwen3-VL gives it.

    None when its size cannot be read, or one side is more than 200 times the other.

    As `Qwen2VLImageProcessor` of transformers with the settings of Qwen3-VL: sides are rounded to multiples of 32
    (patches of 16, merged 2 by 2), the area is kept within the bounds, and each 32 x 32 pixels take one position.
    """
    size = image_size(image)
    if size is None or max(size) > 200 * min(size):
        return None
    side = 32
    height, width = (max(side, round(length / side) * side) for length in (size.height, size.width))
    if height * width > max_pixels:
        scale = math.sqrt(size.height * size.width / max_pixels)
        height, width = (max(side, math.floor(it / scale / side) * side) for it in (size.height, size.width))
    elif height * width < min_pixels:
        scale = math.sqrt(min_pixels / (size.height * size.width))
        height, width = (math.ceil(it * scale / side) * side for it in (size.height, size.width))
    return ImageChunk(data=image.data, format=image.format, expected_tokens=(height // side) * (width // side))


def _png_size(data: bytes) -> ImageSize | None:
    if data[:8] != _PNG or data[12:16] != b"IHDR":
        return None
    return _positive(*struct.unpack(">II", data[16:24]))


def _jpeg_size(data: bytes) -> ImageSize | None:
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _JPEG_BARE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return _positive(width, height)
        position += 2 + struct.unpack(">H", data[position + 2 : position + 4])[0]
    return None


def _positive(width: int, height: int) -> ImageSize | None:
    return ImageSize(width, height) if width > 0 and height > 0 else None
