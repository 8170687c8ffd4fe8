"""The JSON API: thin routes over the desk, with one envelope for everything that is refused."""
