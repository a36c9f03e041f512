"""What can go wrong between an endpoint's definition and a container that answers."""


class ProvisioningError(Exception):
    """An instance could not be brought into service; the text becomes the endpoint's FailureReason."""


class Stopped(Exception):
    """The instance was told to stop while it was still starting."""
