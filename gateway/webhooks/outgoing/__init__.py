"""Our own webhooks, after Standard Webhooks: signed, repeated, and never to a private host."""
