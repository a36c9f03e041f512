"""The engine's errors. Each has one sentence that may be shown to a client; the caller maps them to its protocol."""


class EngineError(Exception):
    """Base class of every error that the engine raises on purpose."""


class PromptTooLongError(EngineError):
    """A clip's text, a section's text, or the negative prompt if `index` is None, has more tokens than are read."""

    def __init__(self, index: int | None, tokens: int, limit: int, *, section: bool = False) -> None:
        text = "a negative prompt" if index is None else f"{'section' if section else 'text'} {index}"
        super().__init__(f"{text} must be at most {limit} tokens, got {tokens}")
        self.index = index
        self.section = section
        self.tokens = tokens
        self.limit = limit


class MelodyUnsupportedError(EngineError):
    """A clip has a melody, and the loaded model, which `served` names if it is known, follows none."""

    def __init__(self, served: str = "another") -> None:
        super().__init__(
            "melody must be sent to a melody model (facebook/musicgen-melody, facebook/musicgen-melody-large, "
            f"facebook/musicgen-stereo-melody or facebook/musicgen-stereo-melody-large), this endpoint serves {served}"
        )


class UnavailableError(EngineError):
    """The engine cannot take the request now; another attempt may succeed."""


class QueueFullError(UnavailableError):
    """Too many clips are waiting for a slot."""

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(f"too many clips waiting: {waiting} with this request (limit {limit}); retry later")


class EngineStoppedError(UnavailableError):
    """The engine stopped before the request was finished."""

    def __init__(self) -> None:
        super().__init__("the engine has stopped; retry")


class DeviceMemoryError(UnavailableError):
    """A clip does not fit in the device's memory, even with no other clip in flight."""

    def __init__(self) -> None:
        super().__init__("the device ran out of memory with no other clip in flight; retry later")


class RequestAbandonedError(EngineError):
    """The client went away before its clips were finished."""

    def __init__(self) -> None:
        super().__init__("the client closed its connection before its clips were finished")


class RequestCancelledError(EngineError):
    """The client cancelled the request before its clips were finished."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled by the client")


class NonFiniteError(EngineError):
    """The model computed NaN or infinity, so the clip is unusable."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the model computed {what} with NaN or infinity")
