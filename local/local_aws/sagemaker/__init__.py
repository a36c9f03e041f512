"""The embedded AWS's SageMaker: asynchronous endpoints that run the real serving stack on this machine.

`api` receives the calls, `endpoint` runs them, and everything an endpoint does on AWS it does with its execution role's
rights. The emulator installs it; autoscaling reads endpoints through `find_endpoint`.
"""

from local_aws.sagemaker.api import all_endpoints, find_endpoint, install

__all__ = ["all_endpoints", "find_endpoint", "install"]
