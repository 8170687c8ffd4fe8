"""What the sample studio offers: two modes that differ in everything a form has to show."""

from dataclasses import replace

from gateway.offer_view import (
    CameraMove,
    Capabilities,
    Defaults,
    ModelOffer,
    ModeOffer,
    Offer,
    ResolutionOffer,
)

MOVES = {
    "none": "None",
    "dolly_in": "Dolly in",
    "dolly_out": "Dolly out",
    "dolly_left": "Dolly left",
    "dolly_right": "Dolly right",
    "jib_up": "Jib up",
    "jib_down": "Jib down",
    "static": "Static",
    "focus_shift": "Focus shift",
}
SHORT = (2, 3, 4, 5, 6, 8, 10)
LONG = (*SHORT, 12, 14, 16, 18, 20)
SIZES = {"540p": (1024, 576), "720p": (1280, 704), "1080p": (1920, 1088)}
SQUARES = {"540p": 768, "720p": 960, "1080p": 1408}
RATES = {"fast": {"540p": 1, "720p": 2, "1080p": 4}, "pro": {"540p": 3, "720p": 4, "1080p": 9}}
FAST = Capabilities(
    t2v=True,
    i2v=True,
    last_frame=True,
    audio=True,
    loras=False,
    negative_prompt=False,
    guidance=False,
    spatial_upscaler=True,
    temporal_upscaler=True,
    detailer=True,
    enhance_prompt=True,
    camera_motion=tuple(name for name in MOVES if name not in ("none", "focus_shift")),
)
PRO = replace(
    FAST,
    negative_prompt=True,
    guidance=True,
    loras=True,
    camera_motion=tuple(name for name in MOVES if name != "none"),
)


def resolution(mode, name):
    width, height = SIZES[name]
    edge = SQUARES[name]
    long = mode == "fast" and name != "1080p"
    return ResolutionOffer(
        id=name,
        sizes={"16:9": (width, height), "9:16": (height, width), "1:1": (edge, edge)},
        fps_durations={24: LONG if long else SHORT, 25: LONG if long else SHORT},
        credits_per_second=RATES[mode][name],
    )


OFFER = Offer(
    price_version="2026-12-01",
    credit_usd="0.01",
    default=Defaults(
        model="ltx-2.3", mode="fast", resolution="720p", aspect_ratio="16:9", duration=5, fps=24
    ),
    models=(
        ModelOffer(
            id="ltx-2.3",
            embedded=False,
            modes=(
                ModeOffer(
                    mode="fast",
                    label="Fast",
                    note="8 + 3 steps, quickest",
                    steps=8,
                    refine_steps=3,
                    capabilities=FAST,
                    resolutions=tuple(resolution("fast", name) for name in SIZES),
                ),
                ModeOffer(
                    mode="pro",
                    label="Pro",
                    note="Full steps and guidance, best detail",
                    steps=30,
                    refine_steps=3,
                    capabilities=PRO,
                    resolutions=tuple(resolution("pro", name) for name in SIZES),
                ),
            ),
        ),
    ),
    cameras=tuple(CameraMove(name=name, title=title) for name, title in MOVES.items()),
    surcharges={"temporal_upscaler": 50, "detailer": 50},
    max_prompt=4000,
    max_upload_bytes=15_000_000,
    upload_types=("image/png", "image/jpeg", "image/webp"),
)
