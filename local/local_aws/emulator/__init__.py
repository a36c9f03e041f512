"""The embedded AWS itself: moto behind TLS, extended until the CDK CLI deploys the stack to it.

`server` is the program, `process.LocalAws` starts it as a child process, `moto_patches` lists every change to moto.
`sagemaker` and `autoscaling` extend it through `clients`, `account`, `environment`, `child_processes` and `iam`.
"""
