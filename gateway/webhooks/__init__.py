"""Webhooks: RunPod's, which are hints, and our own, which are signed."""
