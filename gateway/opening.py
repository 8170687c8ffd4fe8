"""The worker and the store that the settings name."""

from gateway.backends import Backend
from gateway.backends.runpod import ANSWER_SECONDS, RunPod
from gateway.stores import Store
from gateway.stores.folder import FolderStore
from ltx2.client import JOBS
from ltx2.errors import ConfigError
from ltx2.gateway_settings import GatewaySettings
from ltx2.worker.settings import WorkerSettings


def open_backend(settings: GatewaySettings, *, seconds: float = ANSWER_SECONDS) -> Backend:
    """The worker's endpoint, each answer of which may take so long. RunPod's key goes to RunPod
    alone. Raises ConfigError.
    """
    keys = WorkerSettings.from_env()
    worker = settings.worker
    if worker is None:
        raise ConfigError(
            "LTX2_GATEWAY_WORKER is missing: the id of a RunPod endpoint, or the address of "
            "`ltx2 serve` such as http://127.0.0.1:8000/v2/local"
        )
    if not reaches_runpod(worker):
        return RunPod(worker, keys.serve_key, timeout=seconds)
    if keys.api_key is None:
        raise ConfigError("RUNPOD_API_KEY is missing, without which RunPod takes no job")
    return RunPod(worker if "://" in worker else f"{JOBS}/{worker}", keys.api_key, timeout=seconds)


def reaches_runpod(worker: str) -> bool:
    """Whether a `LTX2_GATEWAY_WORKER` is RunPod's, and no machine of one's own."""
    return "://" not in worker or worker.startswith(JOBS)


def open_store(settings: GatewaySettings) -> Store:
    """Where videos lie. Raises ConfigError."""
    if settings.store == "folder":
        return FolderStore(settings.folder.absolute() / "files")
    from gateway.stores.s3 import S3Store
    from ltx2.delivery.s3_config import S3Config

    config = S3Config.from_settings(WorkerSettings.from_env())
    if config is None:
        raise ConfigError(
            "LTX2_GATEWAY_STORE is s3, so BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID and "
            "BUCKET_SECRET_ACCESS_KEY must be those of the worker's bucket"
        )
    return S3Store(config)
