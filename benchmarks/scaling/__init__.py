"""What an endpoint's scaling settings give for a trace of requests: workers, waiting and cost."""
