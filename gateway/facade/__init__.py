"""`/v1/videos` as the `openai` package speaks it: other words for the same desk."""
