"""What a gateway is made of, from which every process of it builds the same one."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.backends import Backend
from gateway.clock import Clock
from gateway.stores import Store
from ltx2.extent import Limits
from ltx2.gateway_settings import GatewaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The settings, and how to open what stands outside of the gateway.

    It is sent to a process of its own loops, where there is one: then `backend` and `store`, which
    open these, and `clock` must be what pickle takes. `hook_url` is where the worker's platform
    reaches us, in place of the settings' public address. `fake` is told by /api/health.
    """

    settings: GatewaySettings
    backend: Callable[[], Backend]
    store: Callable[[], Store]
    clock: Clock
    limits: Limits
    hook_url: str | None = None
    fake: bool = False
