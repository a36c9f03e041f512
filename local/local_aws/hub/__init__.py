"""A Hugging Face Hub on loopback: serves one folder as one commit of one model, as the Hub and its CDN do."""

from local_aws.hub.faults import Fault, FaultHook, HubRequest
from local_aws.hub.server import LoopbackHub

__all__ = ["Fault", "FaultHook", "HubRequest", "LoopbackHub"]
