"""Fakes of AWS for the client: a queue, an S3 and a container in virtual time."""
