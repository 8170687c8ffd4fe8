"""A site behind a real socket, for clients that are real programs."""

import contextlib
import socket
import threading

import uvicorn


@contextlib.contextmanager
def serving(site):
    """The address of a server over a site's app. Its loops stand still: the test moves them."""
    config = uvicorn.Config(site.app, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
