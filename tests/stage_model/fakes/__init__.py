"""Fakes of the Hub, S3, CloudFormation and the clock, for tests of staging and its benchmarks."""
