"""Routes of the secrets that an account's webhooks are signed with."""

from fastapi import APIRouter

from gateway.api import bodies
from gateway.api.caller import Caller
from gateway.api.documented import refused
from gateway.webhooks.outgoing.kept_secrets import KeptSecrets


def router(secrets: KeptSecrets) -> APIRouter:
    """The routes, over a database's secrets."""
    api = APIRouter(prefix="/api/webhook-secrets", tags=["account"])

    @api.get("", responses=refused())
    def those_in_use(account: Caller) -> bodies.WebhookSecretsBody:
        """Those in use, the newest first; each of them signs every webhook."""
        return bodies.WebhookSecretsBody(secrets=secrets.of(account))

    @api.post("", responses=refused())
    def another(account: Caller) -> bodies.WebhookSecretsBody:
        """A new one; the newest before it goes on signing until the next call."""
        return bodies.WebhookSecretsBody(secrets=secrets.renew(account))

    return api
