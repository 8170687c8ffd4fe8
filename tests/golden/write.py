"""Rewrites the golden plans: `python -m tests.golden.write`. Its diff is what a reviewer reads."""

from tests.golden import videos
from tests.golden.cases import FOLDER, NAMES, file, written


def main() -> None:
    """Write one file per checkpoint and one of videos, and delete what nothing makes any more."""
    FOLDER.mkdir(exist_ok=True)
    for stale in set(FOLDER.iterdir()) - {videos.FILE, *map(file, NAMES)}:
        stale.unlink()
    for name in NAMES:
        file(name).write_text(written(name), encoding="utf-8")
    videos.FILE.write_text(videos.written(), encoding="utf-8")


if __name__ == "__main__":
    main()
