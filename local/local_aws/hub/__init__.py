"""A Hugging Face Hub on loopback, for `make local`, the benchmarks and the tests: one model at one commit.

Files, redirects to a CDN, signed URLs and errors are as the Hub's. It imports nothing else of local_aws, and anything
may import it.
"""

from local_aws.hub.repository import Repository
from local_aws.hub.server import HubRequest, LoopbackHub, Reply

__all__ = ["HubRequest", "LoopbackHub", "Reply", "Repository"]
