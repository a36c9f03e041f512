"""The two origins: the Hub itself, which lists and redirects, and the CDN, which holds the large files."""

import hmac
from urllib.parse import parse_qs, unquote, urlsplit

from local_aws.hub.catalog import HubFile
from local_aws.hub.handler import OriginHandler


class HubOrigin(OriginHandler):
    """`/api/models/{id}/revision/{revision}` and `/{id}/resolve/{revision}/{path}`."""

    origin = "hub"

    def answer(self, path: str) -> None:
        """Answers the two kinds of address that exist; every other one is an unknown repository."""
        model = self.repository.model_id
        information, files = f"/api/models/{model}", f"/{model}/resolve/"
        if path == information or path.startswith(f"{information}/revision/"):
            self._send_information(unquote(path.removeprefix(information).removeprefix("/revision/")))
        elif path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            self._resolve(unquote(revision), unquote(name))
        else:
            self.send_error_code(404, "RepoNotFound", "Repository not found")

    def _send_information(self, revision: str) -> None:
        if self._knows(revision or "main"):
            blobs = parse_qs(urlsplit(self.path).query).get("blobs", ["false"])[0] == "true"
            self.send_json(200, self.repository.information(blobs=blobs))

    def _resolve(self, revision: str, name: str) -> None:
        if not self._knows(revision) or not self._may_read():
            return
        file = self.repository.files.get(name)
        if file is None:
            self.send_error_code(404, "EntryNotFound", "Entry not found", self._commit())
        elif file.sha256:
            self._redirect(file, file.sha256)
        else:
            self.send_file(file, self._commit())

    def _redirect(self, file: HubFile, sha256: str) -> None:
        location = self.repository.cdn_url + self.repository.signer.sign(sha256, file.path)
        linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": file.etag, "Accept-Ranges": "bytes"}
        self.send_head(302, 0, {"Location": location, **linked, **self._commit()})

    def _knows(self, revision: str) -> bool:
        if revision in (self.repository.revision, "main"):
            return True
        self.send_error_code(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return False

    def _may_read(self) -> bool:
        token = self.repository.token
        given = self.headers.get("Authorization")
        if not token or (given and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())):
            return True
        status = 403 if given else 401
        self.send_error_code(status, "GatedRepo", f"Access to model {self.repository.model_id} is restricted.")
        return False

    def _commit(self) -> dict[str, str]:
        return {"X-Repo-Commit": self.repository.revision}


class CdnOrigin(OriginHandler):
    """The large files, to bearers of an address that is signed and not expired; a token must not come here."""

    origin = "cdn"

    def answer(self, path: str) -> None:
        """Sends the file, or 403 as the CDN does for a bad or expired signature."""
        sha256 = self.repository.signer.verify(self.path)
        file = self.repository.lfs_file(sha256) if sha256 else None
        if file is None:
            self.send_error_code(403, "AccessDenied", "the address is not signed, or has expired")
        elif "Authorization" in self.headers:
            # The real CDN refuses two kinds of authentication at once; a leaked token must not go unnoticed here.
            self.send_error_code(400, "InvalidRequest", "only one authentication mechanism is allowed")
        else:
            self.send_file(file, {})
