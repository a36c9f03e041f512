"""The Hugging Face Hub's API, or a mirror's that speaks it: what a commit holds, and its files by ranges."""

from stage_model.body import read_whole
from stage_model.connections import Connections, Request, raise_if_busy
from stage_model.errors import StagingError
from stage_model.hub_file import MAX_REDIRECTS, REDIRECTS, HubFile, Location, follow
from stage_model.listing import MAX_LISTING, parse_listing
from stage_model.patience import Patience, persist
from stage_model.repository import RepoFile


class HubRepository:
    """One commit of one model repository; `token` is for gated and private ones."""

    def __init__(
        self, endpoint: str, model_id: str, revision: str, connections: Connections, patience: Patience,
        token: str | None = None,
    ) -> None:  # fmt: skip
        self._endpoint = endpoint.rstrip("/")
        self._model_id = model_id
        self._revision = revision
        self._connections = connections
        self._patience = patience
        self._token = token

    def list_files(self) -> list[RepoFile]:
        """Return the files at the root. Raises StagingError for an unknown model or commit, or a gated one."""
        return parse_listing(self.listing(), self._name(), self._revision)

    def listing(self) -> bytes:
        """Return the Hub's own answer, which a mirror in S3 keeps. Raises StagingError as `list_files` does."""
        return persist(self._patience, self._fetch_listing)

    def open(self, file: RepoFile) -> HubFile:
        """Return a published file for reading by ranges."""
        url = f"{self._endpoint}/{self._model_id}/resolve/{self._revision}/{file.path}"
        location = Location(url, self._headers(), signed=False)
        return HubFile(url, file.size, self._connections, self._patience, lambda: location)

    def _fetch_listing(self) -> bytes:
        url = f"{self._endpoint}/api/models/{self._model_id}/revision/{self._revision}?blobs=true"
        location = Location(url, self._headers(), signed=False)
        for _ in range(1 + MAX_REDIRECTS):
            found = self._request_listing(location)
            if isinstance(found, bytes):
                return found
            location = found
        raise StagingError(f"the listing of {self._name()} must redirect at most {MAX_REDIRECTS} times")

    def _request_listing(self, location: Location) -> Location | bytes:
        with self._connections.exchange(Request("GET", location.url, location.headers)) as exchange:
            response = exchange.response
            if response.status in REDIRECTS:  # a model that was renamed
                response.read(65536)
                return follow(location, response.headers.get("Location", ""))
            raise_if_busy(response, "the Hub")
            self._raise_for(response.status)
            return read_whole(response, MAX_LISTING)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _raise_for(self, status: int) -> None:
        if status in (401, 403):
            given = "to the token given" if self._token else "and no token is configured"
            raise StagingError(f"{self._name()} is gated, private or does not exist: the Hub answered {status} {given}")
        if status == 404:
            raise StagingError(f"{self._name()} does not exist on the Hub")
        if status != 200:
            raise StagingError(f"the Hub must answer 200 for {self._name()}, got {status}")

    def _name(self) -> str:
        return f"model {self._model_id} at revision {self._revision}"
