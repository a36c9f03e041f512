"""MusicGen on AWS as a CDK app. The only module that reads the machine's environment."""

import os
import sys

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.config import ConfigError, from_context
from infra.stack import MusicGenStack


def main() -> None:
    """Read the configuration, build the stack, check it with cdk-nag and write the template."""
    app = App()
    try:
        config = from_context(app.node.get_all_context(), default_region=os.environ.get("CDK_DEFAULT_REGION"))
    except ConfigError as error:
        sys.exit(f"configuration: {error}")
    MusicGenStack(app, config=config)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


main()
