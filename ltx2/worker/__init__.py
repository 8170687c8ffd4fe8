"""The RunPod worker: one job at a time from the platform to a delivered clip."""
