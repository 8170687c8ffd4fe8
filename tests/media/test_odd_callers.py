"""What callers send and ask for by bad luck: AVIF files with a wrong byte, names that just fit."""

import base64
import io

import pytest
from PIL import Image

from ltx2.errors import MediaRefused, TooLarge
from ltx2.media.encode import write_mp4
from ltx2.media.fetch import MediaLimits, fetch_picture
from tests.media.clips import clip, noise

LONGEST = 255  # bytes of a file's name that Linux and macOS take


def test_a_wrong_byte_in_an_avif_file_is_never_more_than_a_refusal():
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 20)).save(file, "AVIF")
    refusals = []
    for place in range(len(file.getvalue())):
        data = bytearray(file.getvalue())
        data[place] ^= 0xFF
        source = "data:;base64," + base64.b64encode(data).decode()
        try:
            fetch_picture(source, name="image", allow_paths=False, limits=MediaLimits())
        except (MediaRefused, TooLarge) as error:
            refusals.append(str(error))
    assert refusals
    assert all(text.startswith("image ") for text in refusals)


@pytest.mark.parametrize("letter", ["x", "ü", "日"])
def test_a_file_name_may_be_as_long_as_the_disk_takes(tmp_path, letter):
    room = LONGEST - len(".mp4")
    name = letter * (room // len(letter.encode())) + ".mp4"
    made = write_mp4(clip(noise(1)), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert made.path.stat().st_size == made.bytes
