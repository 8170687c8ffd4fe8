"""The gateway: accounts, credits and generations in front of a worker, as an API and a web studio."""
