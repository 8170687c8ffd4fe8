# The images: `docker buildx bake` builds `slim`, `docker buildx bake baked-fast --push` one with
# weights, for which HF_TOKEN must be a token that may read the model's gated repositories. A setting
# below is changed in the environment: TAG=1.4.0 IMAGE=registry.example.com/me/ltx2 docker buildx bake

variable "IMAGE" {
  description = "Registry and name of the image."
  default     = "ltx2"
}

variable "TAG" {
  description = "Version of the image. RunPod rolls out by tag, so each release needs its own."
  default     = "dev"
}

variable "CHECKPOINT" {
  description = "The model that the baked images hold: a name of `ltx2 models`."
  default     = "ltx-2.3"
}

variable "LORAS" {
  description = "1 adds the model's camera and detail LoRAs; the catalogue has some for ltx-2 alone."
  default     = CHECKPOINT == "ltx-2" ? "1" : ""
}

variable "PYTHON_IMAGE" {
  description = "Another base, by digest; not set takes the Dockerfile's."
  default     = null
}

group "default" {
  targets = ["slim"]
}

group "baked" {
  targets = ["baked-fast", "baked-pro", "baked-all"]
}

target "image" {
  context    = "."
  dockerfile = "Dockerfile"
  # torch's CUDA build and RunPod's machines.
  platforms = ["linux/amd64"]
  args = {
    PYTHON_IMAGE = PYTHON_IMAGE
  }
  labels = {
    "org.opencontainers.image.title"    = "ltx2"
    "org.opencontainers.image.version"  = TAG
    "org.opencontainers.image.licenses" = "Apache-2.0"
  }
}

target "slim" {
  inherits = ["image"]
  target   = "slim"
  tags     = ["${IMAGE}:${TAG}"]
}

target "baked" {
  inherits = ["image"]
  # The token reaches the download and no layer: a build argument would stay in the history.
  secret = ["id=hf_token,env=HF_TOKEN"]
  args = {
    CHECKPOINT = CHECKPOINT
    LORAS      = LORAS
  }
}

target "baked-fast" {
  inherits = ["baked"]
  target   = "baked-fast"
  tags     = ["${IMAGE}:${TAG}-${CHECKPOINT}-fast"]
}

target "baked-pro" {
  inherits = ["baked"]
  target   = "baked-pro"
  tags     = ["${IMAGE}:${TAG}-${CHECKPOINT}-pro"]
}

target "baked-all" {
  inherits = ["baked"]
  target   = "baked-all"
  tags     = ["${IMAGE}:${TAG}-${CHECKPOINT}-all"]
}
