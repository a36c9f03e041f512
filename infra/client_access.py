"""What a client of the endpoint may do, as one managed policy."""

from aws_cdk import aws_iam as iam
from constructs import Construct


class ClientAccess(Construct):
    """A policy to attach to the role of whoever wants music, for example a Studio or notebook role."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.policy = iam.ManagedPolicy(
            self, "Policy", description="Send prompts to the MusicGen endpoint and fetch what it makes"
        )
