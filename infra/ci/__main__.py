"""The CDK app: read cdk.json's context, build the stack, check it with cdk-nag and write the template."""

import os
import sys

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks

from infra.ci.settings import from_context
from infra.ci.stack import CiStack
from infra.config import ConfigError


def main() -> None:
    """Run the app as the CDK CLI starts it."""
    app = App()
    try:
        config = from_context(app.node.get_all_context(), default_region=os.environ.get("CDK_DEFAULT_REGION"))
    except ConfigError as error:
        sys.exit(f"configuration: {error}")
    CiStack(app, config=config)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()


if __name__ == "__main__":
    main()
