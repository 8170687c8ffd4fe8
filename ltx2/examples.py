"""Command lines that work, one for each control: the end of the help texts. A test runs them."""

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "generate": (
        'ltx2 generate "Rain on a roof" --mode fast --seed 7 -o rain.mp4',
        'ltx2 generate "Rain on a roof" --mode pro --num-inference-steps 20 --negative-prompt text',
        'ltx2 generate "Rain on a roof" --mode pro --guidance-scale 4 --stg-scale 0 '
        "--modality-scale 2 --guidance-rescale 0.5",
        'ltx2 generate "Rain on a roof" --mode pro --audio-guidance-scale 5 --audio-stg-scale 0 '
        "--audio-modality-scale 2 --audio-guidance-rescale 0.5",
        'ltx2 generate "Rain" --resolution 720p --aspect-ratio 9:16 --duration 4 --fps 30',
        'ltx2 generate "Rain on a roof" --width 1024 --height 576 --num-frames 97',
        'ltx2 generate "Rain on a roof" --no-generate-audio --no-metadata',
        'ltx2 generate "Rain on a roof" --generation-id 42 --json',
        'ltx2 generate "The wind picks up" --image photo.jpg --image-strength 0.8',
        'ltx2 generate "The wind picks up" --image photo.jpg --last-image last.jpg',
        'ltx2 generate "The wind picks up" --keyframe photo.jpg@24 --keyframe last.jpg@1.5s@0.6',
        'ltx2 generate "A harbour" --camera-motion dolly_in --camera-strength 0.7',
        'ltx2 generate "A harbour" --lora style.safetensors@0.8@base',
        'ltx2 generate "A harbour" --no-spatial-upscaler --temporal-upscaler',
        'ltx2 generate "A harbour" --detailer',
        'ltx2 generate "A harbour" --enhance-prompt',
        'ltx2 generate "A harbour" --quantise int8 --device cpu',
    ),
    "detail": (
        "ltx2 detail in.mp4 -o detailed.mp4 --seed 7",
        "ltx2 detail in.mp4 --mode fast --strength 0.8 --no-audio --no-metadata",
    ),
    "upscale": (
        "ltx2 upscale in.mp4 -o twice.mp4 --seed 7",
        "ltx2 upscale in.mp4 --spatial 1.5 --no-refine",
        "ltx2 upscale in.mp4 --spatial 1 --temporal",
        'ltx2 upscale in.mp4 --mode pro --prompt "a harbour at dawn" --detailer',
    ),
    "serve": (
        "ltx2 serve --checkpoint tiny",
        "ltx2 serve --port 0 --drain 60 --device cpu",
        "LTX2_SERVE_KEY=secret ltx2 serve --host 0.0.0.0",
    ),
    "studio": (
        "ltx2 studio",
        "ltx2 studio --port 0 --checkpoint tiny",
    ),
    "gateway": (
        "ltx2 gateway account Ada --credits 500",
        "ltx2 gateway key ACCOUNT_ID --name laptop",
        'ltx2 gateway grant ACCOUNT_ID 100 --note "thank you"',
        "LTX2_GATEWAY_WORKER=abc123 ltx2 gateway serve --port 8080",
        "ltx2 gateway doctor --json",
    ),
}


def epilog(command: str) -> str | None:
    """The examples of a command as the end of its help; None where it has none."""
    lines = EXAMPLES.get(command)
    return None if lines is None else "\n  ".join(("examples:", *lines))
