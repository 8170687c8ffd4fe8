"""Endpoints of RunPod: created, updated, shown and deleted through its REST API, version 2."""
