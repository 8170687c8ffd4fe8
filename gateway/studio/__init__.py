"""The web studio: server-rendered pages over the desk, with a little script for what is live."""
