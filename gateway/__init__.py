"""The gateway: accounts, credits and generations in front of a worker; an API and a web studio."""
