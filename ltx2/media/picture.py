"""Bytes of a picture to upright 8-bit sRGB pixels: rotation, profile, depth, palette and alpha."""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ltx2.errors import MediaRefused, TooLarge

if TYPE_CHECKING:
    from PIL.Image import Image

# What is decoded, in Pillow's names; the rest of its decoders would only widen what a stranger's
# bytes can reach (one of them starts Ghostscript). A camera's MPO opens as the JPEG it begins with;
# Pillow has no opener of that name, and naming it would stop the search there.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
ACCEPTED = "a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF file"
MIN_EDGE = 2  # pixels: the picture passes through 4:2:0 video, which halves its edges
MAX_EDGE = 16_384  # pixels: the largest edge that H.264 encoders take
MAX_RATIO = 8  # longer to shorter edge: little is left of a longer strip once it covers a frame
LONGER_EDGE = 1536  # pixels that are kept: what ComfyUI's LTX-2 graphs resize every picture to

# What Pillow's decoders raise over bytes that are not what they claim to be; AVIF's RuntimeError.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError,
           OverflowError, ArithmeticError, RuntimeError, struct.error, zlib.error)  # fmt: skip
_TEXT_STARTS = {b"<svg": "an SVG", b"<?xml": "an SVG or other XML", b"<!doctype": "a web page",
                b"<html": "a web page", b"{": "JSON"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A fetched picture: upright, sRGB, 8 bits, without alpha, its longer edge at most 1536."""

    image: "Image"  # mode RGB
    sha256: str  # of the bytes as they came, in hex
    width: int  # of `image`, that is after rotation and reduction
    height: int


def decode(data: bytes, *, name: str, max_pixels: int) -> "Image":
    """The first picture in `data`, upright and in sRGB, mode RGB. `name` is the field in errors.

    Alpha is laid on black; 16 bits become 8; an embedded colour profile is applied (relative
    colorimetric with black point compensation, as browsers do). A longer edge above 1536 pixels is
    reduced to that, nothing is enlarged. The size is read from the header and checked before a
    pixel is decoded. Raises MediaRefused, or TooLarge above `max_pixels` or an edge of 16,384.
    """
    from PIL import Image, ImageOps

    if not data:
        raise MediaRefused(f"{name} is empty; give {ACCEPTED}")
    too_many = TooLarge(f"{name} has more than {max_pixels:,} pixels, the most that is taken")
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_many from error
    except _BROKEN as error:
        raise MediaRefused(f"{name} {_what_it_is(data)}; give {ACCEPTED}") from error
    with opened:
        if opened.width * opened.height > max_pixels:
            raise too_many
        _check_shape(*opened.size, name)
        try:
            opened.load()
            return _reduce(_flatten(ImageOps.exif_transpose(opened), name))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise too_many from error
        except _BROKEN as error:
            raise MediaRefused(
                f"{name} is a {opened.format} file that is damaged or cut off; send it again whole"
            ) from error


def _check_shape(width: int, height: int, name: str) -> None:
    """Refuse a picture that is too small, too long or too narrow."""
    short, long = sorted((width, height))
    if short < MIN_EDGE:
        raise MediaRefused(
            f"{name} is {width}x{height} pixels; at least {MIN_EDGE}x{MIN_EDGE} are needed"
        )
    if long > MAX_EDGE:
        raise TooLarge(f"{name} is {width}x{height} pixels; an edge may have {MAX_EDGE:,} at most")
    if long > MAX_RATIO * short:
        raise MediaRefused(
            f"{name} is {width}x{height} pixels; the longer edge may be {MAX_RATIO} times the "
            "shorter at most, crop it first"
        )


def _reduce(image: "Image") -> "Image":
    """Lanczos down to a longer edge of 1536 pixels; a smaller picture as it is."""
    from PIL.Image import Resampling

    long = max(image.size)
    if long <= LONGER_EDGE:
        return image
    width, height = (max(MIN_EDGE, round(edge * LONGER_EDGE / long)) for edge in image.size)
    return image.resize((width, height), Resampling.LANCZOS)


def _what_it_is(data: bytes) -> str:
    start = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for opening, kind in _TEXT_STARTS.items():
        if start.startswith(opening):
            return f"is {kind} file, not a picture" if kind != "a web page" else f"is {kind}"
    return "is not a picture that can be read"


def _flatten(image: "Image", name: str) -> "Image":
    """Any mode to RGB in sRGB on black."""
    from PIL import Image

    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = _from_sixteen(image)
    elif image.mode in ("P", "PA", "1") or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    colours = _to_srgb(_eight_bits(image, name), profile, name)
    if alpha is None:
        return colours
    black = Image.new("RGB", colours.size)
    return Image.composite(colours, black, alpha)


def _eight_bits(image: "Image", name: str) -> "Image":
    """The colour channels with 8 bits each: mode L, RGB or CMYK."""
    match image.mode:
        case "L" | "RGB" | "CMYK":
            return image
        case "LA":
            return image.convert("L")
        case "RGBA" | "YCbCr":
            return image.convert("RGB")
        case mode:
            raise MediaRefused(
                f"{name} has pixels of Pillow's mode {mode}; save it with 8 or 16 bits a channel"
            )


def _from_sixteen(image: "Image") -> "Image":
    """16-bit grey to mode L, or LA where one grey stands for transparent.

    Pillow's own conversion would clip everything above 255 to white.
    """
    import numpy as np
    from PIL import Image

    wide = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: "Image", profile: Any, name: str) -> "Image":  # noqa: ANN401 - Pillow's info
    """Apply an embedded profile. Without one the colours count as sRGB, as in a browser."""
    from PIL import ImageCms

    if not profile:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if profile[16:20] == b"RGB " and image.mode == "L":  # ICC.1, header: data colour space
            image = image.convert("RGB")  # grey pixels in a file that carries a colour profile
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise MediaRefused(
            f"{name} has a colour profile that cannot be applied to its pixels; save it as sRGB"
        ) from error
    if converted is None:  # Pillow's type for a conversion in place, which this is not
        raise MediaRefused(f"{name} has a colour profile that leads nowhere; save it as sRGB")
    return converted
