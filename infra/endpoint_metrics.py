"""The metrics that SageMaker publishes for an asynchronous endpoint, with the dimensions it publishes them under."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch


def queue_metric(name: str, endpoint: str, *, statistic: str, period: Duration) -> cloudwatch.Metric:
    """A metric of the queue: ApproximateBacklogSize, HasBacklogWithoutCapacity, ... by EndpointName alone."""
    return cloudwatch.Metric(
        namespace="AWS/SageMaker",
        metric_name=name,
        dimensions_map={"EndpointName": endpoint},
        statistic=statistic,
        period=period,
    )


def request_metric(name: str, endpoint: str, variant: str, *, period: Duration) -> cloudwatch.Metric:
    """A count of requests or messages, summed: InvocationFailures, ExpiredRequests, ... by endpoint and variant."""
    return cloudwatch.Metric(
        namespace="AWS/SageMaker",
        metric_name=name,
        dimensions_map={"EndpointName": endpoint, "VariantName": variant},
        statistic="Sum",
        period=period,
    )


def instances_metric(endpoint: str, variant: str, *, period: Duration) -> cloudwatch.Metric:
    """How many instances reported: each sends one sample of its CPU use a minute."""
    return cloudwatch.Metric(
        namespace="/aws/sagemaker/Endpoints",
        metric_name="CPUUtilization",
        dimensions_map={"EndpointName": endpoint, "VariantName": variant},
        statistic="SampleCount",
        period=period,
    )
