"""What stops the gate: it could not look, which is no verdict."""


class GateError(Exception):
    """The gate could not run. The message is for the person who runs it: what, the value got, what is allowed."""
