"""The size of images and the positions they take, against Pillow and transformers."""

import io
import math
from importlib import import_module
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crucible.train.renderers import image_size, qwen3_vl_chunk
from crucible.train.types import ImagePart

Kind = Literal["png", "jpeg"]
kinds: st.SearchStrategy[Kind] = st.sampled_from(("png", "jpeg"))


def picture(width: int, height: int, kind: Kind) -> ImagePart:
    """Write a grey picture, the JPEG with a comment and a progressive scan."""
    written = io.BytesIO()
    options: dict[str, Any] = {"progressive": True, "comment": b"\xff\xc0 no size"} if kind == "jpeg" else {}
    Image.new("L", (width, height), 128).save(written, kind.upper(), **options)
    return ImagePart(data=written.getvalue(), format=kind)


@given(width=st.integers(1, 300), height=st.integers(1, 300), kind=kinds)
def test_the_size_is_the_one_it_was_written_with(width: int, height: int, kind: Kind) -> None:
    assert image_size(picture(width, height, kind)) == (width, height)


@given(width=st.integers(1, 300), height=st.integers(1, 300), kind=kinds, at=st.floats(0, 1))
def test_a_torn_image_has_its_size_or_none(width: int, height: int, kind: Kind, at: float) -> None:
    whole = picture(width, height, kind)
    torn = ImagePart(data=whole.data[: int(at * len(whole.data))], format=kind)
    assert image_size(torn) in {None, (width, height)}


@given(data=st.binary(max_size=40), kind=kinds)
def test_any_bytes_may_be_asked_for_their_size(data: bytes, kind: Kind) -> None:
    for prefix in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        size = image_size(ImagePart(data=prefix + data, format=kind))
        assert size is None or min(size) > 0


@given(width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_positions_are_those_of_transformers(width: int, height: int) -> None:
    transformers: Any = import_module("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    chunk = qwen3_vl_chunk(ImagePart(data=head, format="png"))
    if max(width, height) > 200 * min(width, height):
        assert chunk is None
        return
    tall, wide = transformers.smart_resize(height, width, factor=32, min_pixels=65_536, max_pixels=16_777_216)
    assert chunk is not None
    assert len(chunk) == math.prod((tall, wide)) // 32**2


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_wrong_format_has_no_size(kind: Kind) -> None:
    other: Kind = "jpeg" if kind == "png" else "png"
    assert image_size(ImagePart(data=picture(5, 5, kind).data, format=other)) is None
