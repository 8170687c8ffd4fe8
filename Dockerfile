# An image that runs the `ltx2` command on an NVIDIA GPU. Weights are not inside: mount a folder at
# /models, or let `ltx2 download` fill it. Files are written to /out; `--user` makes them yours, and
# without it user 1000 must be allowed to write to the folder that is mounted there.
#
#   docker build -t ltx2 .
#   docker run --gpus all --user "$(id -u)" -v "$PWD:/out" -v ltx2-models:/models \
#       ltx2 generate "PROMPT" -o clip.mp4
#
# torch's wheels bring their own CUDA libraries and the container runtime brings the driver, so a
# CUDA base image would only hold a second copy of both.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${PYTHON_IMAGE}

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models/huggingface \
    LTX2_CACHE=/models/cache

WORKDIR /app

# First the packages, which change rarely and are large; then the code.
COPY requirements-runtime.lock ./
RUN pip install --no-cache-dir -r requirements-runtime.lock
COPY pyproject.toml LICENSE ./
COPY loras ./loras
COPY pipelines ./pipelines
COPY ltx2 ./ltx2
RUN pip install --no-cache-dir --no-deps . && rm -rf build *.egg-info

# Nothing needs root; /models and /out are what the command may write, whoever `--user` names.
RUN useradd --create-home --uid 1000 ltx2 && mkdir -p /models /out && chmod 1777 /models /out
USER ltx2
WORKDIR /out
VOLUME /models

ENTRYPOINT ["ltx2"]
CMD ["--help"]
