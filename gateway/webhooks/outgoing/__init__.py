"""Our own webhooks, as Standard Webhooks has them: signed, repeated, and never to a private host."""
