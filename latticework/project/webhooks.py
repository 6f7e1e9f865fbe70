"""A hook that tells a web service of events: one JSON document for each, by HTTP POST."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from latticework.errors import ProjectError
from latticework.project.events import Event
from latticework.project.secrets import is_this_machine, read_secret

Body = Callable[[Event], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, repr=False)
class Webhook:
    """Posts events to a web address; made by `webhook`."""

    url: str
    """Where to. Addresses of such services are often secret: it is shown nowhere."""
    body: Body | None = None
    """Makes the document from an event; None: `Event.to_json`."""
    token_env: str | None = None
    """Environment variable with a token, sent as ``Authorization: Bearer``."""
    token_file: Path | str | None = None
    """File with the token instead."""
    timeout_s: float = 10.0
    """Seconds to wait for the service."""

    def __call__(self, event: Event) -> None:
        """Post an event.

        Raises
        ------
        ProjectError
            If the service did not take it; the message holds neither the address nor the token.
        """
        made = event.to_json() if self.body is None else dict(self.body(event))
        headers = {"Content-Type": "application/json", "User-Agent": "latticework"}
        token = read_secret(env=self.token_env, file=self.token_file, what="a webhook's token")
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            request = Request(self.url, json.dumps(made).encode(), headers, method="POST")  # noqa: S310 - checked by `webhook`
            with self._opener().open(request, timeout=self.timeout_s) as answer:
                answer.read(1)
        except HTTPError as error:
            raise ProjectError(f"{self.place} answered {error.code}") from None
        except (URLError, OSError, HTTPException, ValueError) as error:
            cause = getattr(error, "reason", error)
            raise ProjectError(
                f"{self.place} cannot be reached ({type(cause).__name__}): is it there, and may "
                "this machine reach it?"
            ) from None

    def _opener(self) -> OpenerDirector:
        here = is_this_machine(urlsplit(self.url).hostname or "")
        return build_opener(_NoRedirect, *([ProxyHandler({})] if here else []))

    @property
    def place(self) -> str:
        """The host, without what may be secret."""
        return f"the webhook at {urlsplit(self.url).hostname}"

    def __repr__(self) -> str:
        return f"<{self.place}>"


class _NoRedirect(HTTPRedirectHandler):
    """Goes nowhere but to the address that was given."""

    def redirect_request(
        self,
        req: Request,  # noqa: ARG002 - as urllib calls it
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: HTTPMessage,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


def webhook(
    url: str,
    *,
    body: Body | None = None,
    token_env: str | None = None,
    token_file: Path | str | None = None,
    timeout_s: float = 10.0,
    insecure: bool = False,
) -> Webhook:
    """A hook that posts each event as a JSON document to a web address.

    Parameters
    ----------
    url
        The address: ``https``, or ``http`` on this very machine. Nothing of it but the host is
        ever shown or logged, and it is not kept in the project. Redirections are not followed.
    body
        Makes another document than `Event.to_json` of an event, as a chat service may want it.
    token_env, token_file
        Where a token is that the service wants (``Authorization: Bearer``): a variable of the
        environment, or a file that only its owner may read.
    timeout_s
        Seconds to wait for the service.
    insecure
        Whether ``http`` to other machines is allowed: everybody on the way may read along.

    Raises
    ------
    ProjectError
        If the address cannot be used, or is not safe.

    Examples
    --------
    >>> hook = webhook("https://chat.example.org/hooks/s3cret",
    ...     body=lambda event: {"text": event.subject})
    >>> hook
    <the webhook at chat.example.org>

    ``project.on(["stage paused itself", "run ended"], hook)``
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("https", "http") or not host or any(c <= " " for c in url):
        raise ProjectError(
            "this is no address of a webhook: give one such as 'https://example.org/hooks/...'"
        )
    if parts.username is not None or parts.password is not None:
        raise ProjectError(
            f"the address of a webhook at {host} holds a user or password: give a token with "
            "token_env= or token_file= instead"
        )
    if parts.scheme == "http" and not is_this_machine(host) and not insecure:
        raise ProjectError(
            f"a webhook at {host} by plain http can be read by everybody on the way: use https, "
            "or say insecure=True"
        )
    if token_env is not None and token_file is not None:
        raise ProjectError("give token_env= or token_file=, not both")
    return Webhook(url, body, token_env, token_file, timeout_s)
