"""Pictures of few colours: a third of the bytes, since they go into notebooks and those into the repository."""

from io import BytesIO

import PIL.Image

COLOURS = 64  # of a picture


def shrink(content: bytes) -> bytes:
    """A PNG of the same picture in at most COLOURS colours, on white where it is transparent; the same bytes where that
    is no smaller."""
    small, picture = BytesIO(), PIL.Image.open(BytesIO(content))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture)
    picture.convert("RGB").quantize(COLOURS).save(small, format="png", optimize=True)
    return min(content, small.getvalue(), key=len)
