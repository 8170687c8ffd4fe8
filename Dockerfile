# The RunPod worker's image for an NVIDIA GPU; with arguments it is the `ltx2` command.
#
#   docker buildx bake                 the targets and their settings are in docker-bake.hcl
#   docker run --gpus all --user "$(id -u)" -v "$PWD:/out" -v ltx2-models:/models \
#       ltx2:dev generate "PROMPT" -o clip.mp4
#
# Targets: `slim` has no weights; `baked-fast`, `baked-pro` and `baked-all` hold one model's in
# /models, never on the volume's mount point, which would hide them.
#
# The base is Python and no CUDA image: torch's wheels bring every CUDA library and the container
# runtime brings the driver, so a CUDA base would be a second copy of both. Another base may be given
# by its digest (--build-arg PYTHON_IMAGE=...): a Debian or Ubuntu with this Python and pip, glibc
# 2.28 or newer. ffmpeg comes in a wheel. The C compiler is for Triton, which builds the callers of
# our kernels with it and with the base's Python headers, once for each cache (LTX2_CACHE).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
# Which model the baked targets hold, and 1 to add its camera and detail LoRAs where it has some.
ARG CHECKPOINT=ltx-2.3
ARG LORAS=

# What changes rarely and is large: torch with CUDA, then the other packages, each a layer.
FROM ${PYTHON_IMAGE} AS packages
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app/lib \
    PATH=/app/lib/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
# start.sh becomes this user. It is no USER here, because a network volume belongs to root, and only
# root can make the worker's folders there. /models and /out take files of whoever `--user` names.
RUN useradd --uid 1000 --create-home --home-dir /var/lib/ltx2 ltx2 \
    && mkdir -p /models /out \
    && chmod 1777 /models /out
# Not pinned: Debian's mirrors keep only the newest of a release's security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements-cuda.lock ./
RUN pip install --no-cache-dir --no-deps -r requirements-cuda.lock
COPY requirements-runtime.lock ./
RUN pip install --no-cache-dir --no-deps -r requirements-runtime.lock && pip check
WORKDIR /out
ENTRYPOINT ["/app/start.sh"]

# The project, built with the locked setuptools. Only its result goes on; it is the last layer of
# every target, so that a change of code sends neither packages nor weights again.
FROM packages AS code
WORKDIR /build
COPY pyproject.toml LICENSE ./
COPY loras ./loras
COPY pipelines ./pipelines
COPY ltx2 ./ltx2
RUN pip install --no-cache-dir --no-deps --no-build-isolation --target /app/lib .
COPY handler.py /app/
COPY --chmod=755 start.sh /app/

FROM packages AS command
COPY --from=code /app /app

# The token is there while the command runs and in no layer.
FROM command AS weights-fast
ARG CHECKPOINT
ARG LORAS
RUN --mount=type=secret,id=hf_token,required=true \
    HF_TOKEN="$(cat /run/secrets/hf_token)" \
    ltx2 download --checkpoint "${CHECKPOINT}" --mode fast ${LORAS:+--loras} --to "/models/${CHECKPOINT}"

FROM command AS weights-pro
ARG CHECKPOINT
ARG LORAS
RUN --mount=type=secret,id=hf_token,required=true \
    HF_TOKEN="$(cat /run/secrets/hf_token)" \
    ltx2 download --checkpoint "${CHECKPOINT}" --mode pro ${LORAS:+--loras} --to "/models/${CHECKPOINT}"

FROM command AS weights-all
ARG CHECKPOINT
ARG LORAS
RUN --mount=type=secret,id=hf_token,required=true \
    HF_TOKEN="$(cat /run/secrets/hf_token)" \
    ltx2 download --checkpoint "${CHECKPOINT}" --mode all ${LORAS:+--loras} --to "/models/${CHECKPOINT}"

# A baked worker that misses its weights is a broken image: it must say so, not fetch them.
FROM packages AS baked-fast
ARG CHECKPOINT
ENV LTX2_CHECKPOINT=${CHECKPOINT} LTX2_MODES=fast LTX2_DOWNLOAD=0
COPY --from=weights-fast /models/${CHECKPOINT} /models/${CHECKPOINT}
COPY --from=code /app /app

FROM packages AS baked-pro
ARG CHECKPOINT
ENV LTX2_CHECKPOINT=${CHECKPOINT} LTX2_MODES=pro LTX2_DOWNLOAD=0
COPY --from=weights-pro /models/${CHECKPOINT} /models/${CHECKPOINT}
COPY --from=code /app /app

FROM packages AS baked-all
ARG CHECKPOINT
ENV LTX2_CHECKPOINT=${CHECKPOINT} LTX2_MODES=all LTX2_DOWNLOAD=0
COPY --from=weights-all /models/${CHECKPOINT} /models/${CHECKPOINT}
COPY --from=code /app /app

# Last, because RunPod's builder takes the last stage.
FROM command AS slim
