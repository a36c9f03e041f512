"""AWS Lambda on this machine: the function's own zip in a child process, under its deployed role.

`moto_patches` installs `invocation` in place of moto's docker containers; `resources.custom_resource` waits for events.
"""
