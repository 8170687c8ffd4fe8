"""Pictures in every form and spelling: what comes out is upright 8-bit sRGB, or one sentence."""

import base64
import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ltx2.errors import MediaRefused, TooLarge
from ltx2.media.fetch import MediaLimits, fetch_all, fetch_picture
from tests.media.server import serving

ROOT = Path(__file__).resolve().parents[2]
LIMITS = MediaLimits(allow_private=True, timeout_s=5.0)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SVG = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"


def quarters(width=64, height=32):
    """Red, green over blue, white: which way is up can be seen."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def corners(image):
    """The colours near the four corners, in reading order."""
    right, low = image.width - 3, image.height - 3
    return [image.getpixel(at) for at in ((2, 2), (right, 2), (2, low), (right, low))]


def packed(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def text(data):
    return base64.b64encode(data).decode("ascii")


def fetch(data, limits=LIMITS):
    return fetch_picture(text(data), name="image", allow_paths=False, limits=limits)


def refused(source, error=MediaRefused, *, allow_paths=False, limits=LIMITS):
    """The one sentence of a refusal; it begins with the field."""
    source = text(source) if isinstance(source, bytes) else source
    with pytest.raises(error) as caught:
        fetch_picture(source, name="last_image", allow_paths=allow_paths, limits=limits)
    sentence = str(caught.value)
    assert sentence.startswith("last_image ")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


def png_header(width, height):
    """A PNG that is nothing but the claim of a size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_exact_formats_come_through_unchanged(kind):
    data = packed(quarters(), kind)
    picture = fetch(data)
    assert picture.image.mode == "RGB"
    assert corners(picture.image) == [RED, GREEN, BLUE, WHITE]
    assert (picture.width, picture.height) == picture.image.size == (64, 32)
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_come_through_nearly_unchanged(kind):
    image = fetch(packed(quarters(), kind, quality=95)).image
    worst = np.abs(np.array(corners(image)) - np.array([RED, GREEN, BLUE, WHITE])).max()
    assert image.mode == "RGB"
    assert worst < 16


# EXIF 2.32, Orientation: what a viewer must do to a picture that was stored after the opposite.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_rotated_picture_stands_upright(kind, orientation):
    turn = STORED[orientation]
    stored = quarters() if turn is None else quarters().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = fetch(packed(stored, kind, exif=exif))
    assert (picture.width, picture.height) == (64, 32)
    assert np.abs(np.array(corners(picture.image)) - np.array([RED, GREEN, BLUE, WHITE])).max() < 8


def swapped_profile():
    """sRGB's profile with its red and blue primaries exchanged: no viewer can overlook it."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    for at, name in zip(names, (b"bXYZ", b"rXYZ"), strict=True):
        profile[at : at + 4] = name
    return bytes(profile)


def test_an_embedded_profile_is_applied():
    image = fetch(packed(quarters(), icc_profile=swapped_profile())).image
    found = np.array(corners(image))
    assert np.abs(found - np.array([BLUE, GREEN, RED, WHITE])).max() <= 3
    assert "icc_profile" not in image.info or image.info["icc_profile"] != swapped_profile()


def test_an_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = fetch(packed(quarters(), icc_profile=profile)).image
    assert np.abs(np.array(corners(image)) - np.array([RED, GREEN, BLUE, WHITE])).max() <= 1


def test_a_profile_is_applied_under_alpha_and_in_grey_and_palette_pictures():
    profile = swapped_profile()
    clear = quarters().convert("RGBA")
    clear.putalpha(255)
    assert corners(fetch(packed(clear, icc_profile=profile)).image)[0][2] > 250
    assert corners(fetch(packed(quarters().convert("P"), icc_profile=profile)).image)[0][2] > 250
    grey = fetch(packed(Image.new("L", (8, 8), 128), icc_profile=profile)).image
    assert np.ptp(np.array(grey.getpixel((4, 4)))) <= 2


@pytest.mark.parametrize("profile", [b"not a profile", swapped_profile()[:200]])
def test_a_profile_that_cannot_be_read_is_refused(profile):
    assert "colour profile" in refused(packed(quarters(), icc_profile=profile))


def test_a_profile_for_other_colours_than_the_pixels_is_refused():
    data = packed(quarters().convert("CMYK"), "JPEG", icc_profile=swapped_profile())
    assert "colour profile" in refused(data)


def test_alpha_is_laid_on_black():
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 128))
    image.putpixel((0, 0), (200, 100, 50, 0))
    image.putpixel((1, 0), (200, 100, 50, 255))
    flat = fetch(packed(image)).image
    assert flat.getpixel((0, 0)) == (0, 0, 0)
    assert flat.getpixel((1, 0)) == (200, 100, 50)
    assert flat.getpixel((4, 4)) == (100, 50, 25)


def test_a_transparent_palette_entry_is_black():
    image = quarters().convert("P", palette=Image.Palette.ADAPTIVE)
    clear = image.getpixel((2, 2))
    assert corners(fetch(packed(image, transparency=clear)).image) == [
        (0, 0, 0),
        GREEN,
        BLUE,
        WHITE,
    ]


def test_one_transparent_colour_is_black():
    data = packed(quarters(), transparency=GREEN)
    assert corners(fetch(data).image) == [RED, (0, 0, 0), BLUE, WHITE]


def test_sixteen_bits_are_scaled_and_not_clipped():
    steps = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    image = fetch(packed(Image.fromarray(steps))).image
    assert [image.getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 1, 128, 255)]


def test_one_transparent_grey_of_sixteen_bits_is_black():
    steps = np.array([[0, 257, 32896, 65535]] * 4, np.uint16)
    image = fetch(packed(Image.fromarray(steps), transparency=65535)).image
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 0]


def test_sixteen_bits_of_colour_become_eight():
    row = b"\0" + struct.pack(">6H", 65535, 0, 32896, 257, 514, 771)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(row * 2)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    image = fetch(data).image
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 0, 128), (1, 2, 3)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_usual_mode_becomes_rgb(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = fetch(packed(Image.new("RGB", (8, 8), WHITE).convert(mode), kind)).image
    assert image.mode == "RGB"
    assert image.getpixel((4, 4)) == WHITE


def test_a_cmyk_jpeg_keeps_its_colours():
    image = fetch(packed(quarters().convert("CMYK"), "JPEG", quality=95)).image
    assert np.abs(np.array(corners(image)) - np.array([RED, GREEN, BLUE, WHITE])).max() < 8


def test_floating_point_pixels_are_refused():
    data = packed(Image.new("F", (8, 8), 0.5), "TIFF")
    assert "8 or 16 bits" in refused(data)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    data = packed(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert fetch(data).image.getpixel((8, 8)) == RED


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused(kind, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data = packed(Image.fromarray(noise), kind)
    refused(data[: int(len(data) * share)])


def test_a_file_that_was_damaged_is_refused():
    data = bytearray(packed(quarters()))
    data[len(data) // 2] ^= 0xFF
    assert "damaged" in refused(bytes(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SVG, "an SVG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"\n<!DOCTYPE html><html></html>", "a web page"),
        (b'{"error": "no such picture"}', "JSON"),
        (b"just some text, a little longer", "not a picture"),
        (gzip.compress(SVG, mtime=0), "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"%PDF-1.7 and so on and on", "not a picture"),
        (bytes(64), "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_would_be_accepted(data, words):
    sentence = refused(data)
    assert words in sentence
    assert "JPEG, PNG, WebP" in sentence


def test_a_size_bomb_is_refused_before_it_is_decoded():
    assert "64,000,000 pixels" in refused(png_header(30_000, 30_000), TooLarge)
    assert "64,000,000 pixels" in refused(png_header(8_001, 8_000), TooLarge)


def test_the_limit_of_pixels_is_the_last_that_is_taken():
    limits = MediaLimits(max_pixels=64 * 32)
    assert fetch(packed(quarters()), limits).width == 64
    assert "2,047 pixels" in refused(
        packed(quarters()), TooLarge, limits=MediaLimits(max_pixels=64 * 32 - 1)
    )


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_a_picture_of_no_size_is_refused(size):
    refused(png_header(*size))


def test_a_picture_of_one_pixel_is_refused():
    assert "1x9 pixels" in refused(packed(Image.new("RGB", (1, 9))))


@pytest.mark.parametrize("size", [(16_385, 3000), (3000, 16_385)])
def test_an_edge_that_no_encoder_takes_is_refused_before_it_is_decoded(size):
    sentence = refused(png_header(*size), TooLarge)
    assert f"{size[0]}x{size[1]} pixels" in sentence
    assert "16,384" in sentence


@pytest.mark.parametrize("size", [(65, 8), (8, 65), (16_000, 2)])
def test_a_picture_that_is_a_strip_is_refused_with_the_shape_that_is_taken(size):
    sentence = refused(packed(Image.new("RGB", size)))
    assert f"{size[0]}x{size[1]} pixels" in sentence
    assert "8 times the shorter" in sentence
    assert fetch(packed(Image.new("RGB", (64, 8)))).width == 64


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((1920, 1080), (1536, 864)),
        ((1080, 1920), (864, 1536)),
        ((1537, 1000), (1536, 999)),
        ((1536, 1100), (1536, 1100)),
        ((200, 100), (200, 100)),
    ],
)
def test_a_picture_is_reduced_to_1536_pixels_and_never_enlarged(size, reduced):
    data = packed(quarters(*size))
    picture = fetch(data)
    assert (picture.width, picture.height) == picture.image.size == reduced
    assert corners(picture.image) == [RED, GREEN, BLUE, WHITE]
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


def test_nothing_is_refused():
    assert "empty" in refused("data:image/png;base64,")
    refused("")


def test_a_data_uri_is_read_whatever_type_it_names():
    data = packed(quarters())
    for head in ("data:image/png;base64,", "DATA:;base64,", "data:image/jpeg;name=a.b;base64,"):
        picture = fetch_picture(head + text(data), name="image", allow_paths=False, limits=LIMITS)
        assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "source", ["data:image/png,abc", "data:image/png;base64", "data:", "data:image/svg+xml;utf8,<"]
)
def test_a_data_uri_without_base64_is_refused(source):
    assert "data:image/png;base64,..." in refused(source)


def test_base64_may_have_line_ends_and_the_url_safe_alphabet():
    data = packed(quarters(), "BMP") + b"\xfb\xff\xfe"  # +, / and - are all in it
    data += bytes(-len(data) % 3)
    lines = base64.encodebytes(data).decode("ascii")
    for source in (lines, lines.replace("\n", "\r\n"), base64.urlsafe_b64encode(data).decode()):
        picture = fetch_picture(source, name="image", allow_paths=False, limits=LIMITS)
        assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "source",
    ["A" * 21, "AAAA AAAA AAAA AAAA", "AAAAAAAAAAAAAAAA+-==", "data:;base64,AAAA!AAA",
     "data:;base64,AAA", "data:;base64,AAAA====", "data:;base64,AA==AAAA", "data:;base64,ÄÄÄÄ"],
)  # fmt: skip
def test_base64_is_read_strictly(source):
    assert "base64" in refused(source)


def test_too_much_base64_is_refused_before_it_is_decoded():
    limits = MediaLimits(max_bytes=3000)
    assert "3,000 bytes" in refused("A" * 8000, TooLarge, limits=limits)
    assert "3,000 bytes" in refused("A" * 4003 + "=", TooLarge, limits=limits)
    assert "not a picture" in refused("A" * 4000, limits=limits)


def test_a_path_is_read_where_paths_are_allowed(tmp_path):
    file = tmp_path / "a picture.png"
    file.write_bytes(packed(quarters()))
    picture = fetch_picture(str(file), name="image", allow_paths=True, limits=LIMITS)
    assert picture.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("source", ["/etc/passwd.txt", "a.png", "../a.png", "~/a.png", "C:\\a.png"])
def test_a_path_is_refused_where_paths_are_not_allowed(source):
    sentence = refused(source)
    assert "paths are not accepted here" in sentence
    assert "URL, a data URI or base64" in sentence


@pytest.mark.parametrize(
    "source", ["file:///etc/passwd", "ftp://example.org/a.png", "s3://b/a.png"]
)
@pytest.mark.parametrize("allow_paths", [True, False])
def test_other_schemes_are_refused(source, allow_paths):
    assert "must be an http(s) URL" in refused(source, allow_paths=allow_paths)


def test_a_path_that_looks_like_base64_is_read_with_a_leading_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday_picture_one").write_bytes(packed(quarters()))
    assert "as in ./name" in refused("holiday_picture_one", allow_paths=True)
    picture = fetch_picture("./holiday_picture_one", name="image", allow_paths=True, limits=LIMITS)
    assert picture.width == 64


def test_the_home_folder_has_its_short_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").write_bytes(packed(quarters()))
    picture = fetch_picture("~/a.png", name="image", allow_paths=True, limits=LIMITS)
    assert picture.width == 64


def test_a_path_that_is_no_readable_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "big.png").write_bytes(bytes(2000))
    (tmp_path / "empty.png").touch()

    def sentence(name, error=MediaRefused, **options):
        return refused(str(tmp_path / name), error, allow_paths=True, **options)

    assert "does not exist" in sentence("none.png")
    assert "is not a file" in sentence("pipe.png")
    (tmp_path / "folder.png").mkdir()
    assert "is not a file" in sentence("folder.png")
    assert "is empty" in sentence("empty.png")
    assert "cannot be read" in sentence("empty.png/a.png")
    assert "cannot be read" in sentence("a\0b.png")
    assert "cannot be read" in refused("~nobody-of-this-name/a.png", allow_paths=True)
    assert "1,999 bytes" in sentence("big.png", TooLarge, limits=MediaLimits(max_bytes=1999))


def test_a_url_is_fetched_and_its_refusals_name_the_field():
    data = packed(quarters(), "JPEG")
    with serving({"/a": data, "/page": b"<html>login</html>"}) as server:
        picture = fetch_picture(server.url("/a"), name="image", allow_paths=False, limits=LIMITS)
        assert picture.sha256 == hashlib.sha256(data).hexdigest()
        assert "a web page" in refused(server.url("/page"))
        assert "answered 404" in refused(server.url("/none"))
        small = MediaLimits(allow_private=True, max_bytes=100)
        assert "100 bytes" in refused(server.url("/a"), TooLarge, limits=small)
        assert "port" in refused(server.url("/a"), limits=MediaLimits())


def test_all_pictures_are_fetched_under_their_names():
    source = text(packed(quarters()))
    found = fetch_all({"image": source, "last_image": None}, allow_paths=False, limits=LIMITS)
    assert found.keys() == {"image"}
    found = fetch_all({"image": source, "last_image": source}, allow_paths=False, limits=LIMITS)
    assert found.keys() == {"image", "last_image"}
    assert fetch_all({}, allow_paths=False, limits=LIMITS) == {}


def test_the_problems_of_all_pictures_are_reported_at_once():
    sources = {"image": text(SVG), "last_image": "a.png"}
    with pytest.raises(MediaRefused) as caught:
        fetch_all(sources, allow_paths=False, limits=LIMITS)
    first, second = caught.value.problems
    assert first.startswith("image is an SVG")
    assert second.startswith("last_image must be")


def test_a_picture_that_is_only_too_large_is_reported_as_that():
    large, wrong = text(png_header(30_000, 30_000)), text(SVG)
    with pytest.raises(TooLarge, match=r"^image .*; last_image "):
        fetch_all({"image": large, "last_image": large}, allow_paths=False, limits=LIMITS)
    with pytest.raises(TooLarge, match=r"^last_image has more"):
        fetch_all({"image": None, "last_image": large}, allow_paths=False, limits=LIMITS)
    with pytest.raises(MediaRefused) as caught:
        fetch_all({"image": large, "last_image": wrong}, allow_paths=False, limits=LIMITS)
    assert len(caught.value.problems) == 2


def test_importing_the_media_modules_loads_nothing_heavy():
    heavy = "{'torch', 'PIL', 'av', 'numpy', 'imageio_ffmpeg', 'diffusers'}"
    code = (
        "import sys, ltx2.media.fetch, ltx2.media.encode; "
        f"print(*sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
