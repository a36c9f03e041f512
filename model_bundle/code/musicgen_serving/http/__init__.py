"""The container's HTTP API: `GET /ping` and `POST /invocations`, from the socket to the response.

`service` and the hooks in `inference.py` import it; the engine never does. Nothing here imports torch, so that `/ping`
is answered while the model loads.
"""
