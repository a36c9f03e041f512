"""The staging protocol under a seeded scheduler: in-memory S3, Hub, Lambda and CloudFormation on a virtual clock."""
