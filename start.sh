#!/bin/sh
# What the image runs: the RunPod worker; the local job API with SERVE_API_LOCALLY=true; with
# arguments, the `ltx2` command. It sets what must be in the environment before Python starts; a
# variable that is set already is left alone, and an empty one counts as not set.
set -eu

self=$(readlink -f "$0")
app=${self%/*}
user=ltx2
weights=${LTX2_VOLUME_WEIGHTS:-/runpod-volume/models}
volume=${weights%/*}
cache=$volume/ltx2 # for what workers share: fetched LoRAs, finished clips

say() { printf 'start.sh: %s\n' "$*" >&2; }

as_user() { setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"; }

# Why root cannot be given up, in words; nothing where it can. Makes the worker's folders on the
# volume, which belongs to root. A volume that nobody may write to is no reason.
root_is_needed() {
    [ -d "$volume" ] || return 0
    for folder in "$weights" "$cache"; do
        if mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ]; then
            as_user test -w "$folder" || chown "$user:$user" "$folder" 2>/dev/null || true
            as_user test -w "$folder" || {
                echo "$folder: writable by root only"
                return 0
            }
        fi
    done
    for folder in "$weights" "${LTX2_RUNPOD_CACHE:-$volume/huggingface-cache/hub}"; do
        [ -d "$folder" ] || continue
        # Deep enough for models--OWNER--NAME/snapshots/COMMIT/PART/FILE.
        closed=$(as_user find "$folder/" -ignore_readdir_race -maxdepth 5 \
            ! -readable ! -xtype l -print -quit 2>&1 || true)
        if [ -n "$closed" ]; then
            echo "$closed: readable by root only"
            return 0
        fi
    done
}

if [ "$(id -u)" = 0 ] && id "$user" >/dev/null 2>&1; then
    why=$(root_is_needed)
    if [ -z "$why" ]; then
        home=$(getent passwd "$user" | cut -d: -f6)
        exec setpriv --reuid "$user" --regid "$user" --clear-groups -- \
            env HOME="$home" USER="$user" "$self" "$@"
    fi
    say "runs as root: $why"
fi

# Freed memory of one clip's shapes can be used for those of the next.
if [ -z "${PYTORCH_ALLOC_CONF:-}${PYTORCH_CUDA_ALLOC_CONF:-}" ]; then
    export PYTORCH_ALLOC_CONF=expandable_segments:True
fi
# From 2.13 on, torch compiles a Triton kernel for the outer product in every rotary embedding, also
# in a program that compiles nothing itself, which takes time in each cold start. 1 keeps the kernel
# of cuBLAS.
export TORCH_DISABLE_NATIVE_JIT="${TORCH_DISABLE_NATIVE_JIT:-1}"
export HF_HOME="${HF_HOME:-/models/huggingface}"
if [ -z "${LTX2_CACHE:-}" ]; then
    LTX2_CACHE=/models/cache
    if [ -d "$volume" ] && mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then
        LTX2_CACHE=$cache
    fi
    export LTX2_CACHE
fi

if [ $# -gt 0 ]; then
    if [ "$1" = ltx2 ]; then shift; fi
    exec ltx2 "$@"
fi

# RunPod's SDK logs whole results unless told otherwise, with base64 and links in them.
export RUNPOD_LOG_LEVEL="${RUNPOD_LOG_LEVEL:-INFO}"
# Its own checks: torch's build needs this driver; the first product on a cold card loads cuBLAS,
# which takes longer than the 2 seconds that it gives.
export RUNPOD_MIN_CUDA_VERSION="${RUNPOD_MIN_CUDA_VERSION:-13.0}"
export RUNPOD_GPU_BENCHMARK_TIMEOUT="${RUNPOD_GPU_BENCHMARK_TIMEOUT:-20}"

if [ "${SERVE_API_LOCALLY:-}" = true ]; then
    exec ltx2 serve --host 0.0.0.0 --port "${SERVE_API_PORT:-8000}"
fi

# A machine that cannot run the model is told so in a second, before torch is imported.
python -m ltx2.worker.preflight
exec python "$app/handler.py"
