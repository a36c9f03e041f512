"""Loopback servers and clocks that stand in for the Hub, S3, CloudFormation and time."""
