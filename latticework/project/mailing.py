"""A hook that sends a letter for each event."""

import smtplib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr
from pathlib import Path

from latticework.errors import ProjectError
from latticework.project.events import Event
from latticework.project.secrets import is_this_machine, read_secret

SECURITIES = ("starttls", "tls", "none")
PORTS = {"starttls": 587, "tls": 465, "none": 25}


@dataclass(frozen=True, slots=True)
class Email:
    """Sends letters; made by `email`. It knows where the password is, not what it is."""

    to: tuple[str, ...]
    """Addresses that get a letter."""
    sender: str
    """Address that it comes from."""
    host: str
    """The mail server."""
    port: int
    """Its port."""
    security: str
    """``"starttls"``, ``"tls"`` or ``"none"``."""
    user: str | None = None
    """Name to log in with."""
    password_env: str | None = None
    """Environment variable with the password."""
    password_file: Path | str | None = None
    """File with the password instead."""
    timeout_s: float = 20.0
    """Seconds to wait for the server."""

    def __call__(self, event: Event) -> None:
        """Send a letter.

        Raises
        ------
        ProjectError
            If the server did not take it.
        """
        password = read_secret(
            env=self.password_env, file=self.password_file, what="a password for e-mail"
        )
        try:
            self._send(self.letter(event), password)
        except (smtplib.SMTPException, OSError) as error:
            code = getattr(error, "smtp_code", None)
            said = type(error).__name__ + ("" if code is None else f", code {code}")
            raise ProjectError(
                f"the mail server {self.host}:{self.port} did not take a letter ({said}): check "
                "host=, port=, security=, user= and the password"
            ) from None

    def letter(self, event: Event) -> EmailMessage:
        """The letter about an event."""
        from datetime import UTC, datetime

        letter = EmailMessage()
        letter["From"] = self.sender
        letter["To"] = ", ".join(self.to)
        letter["Subject"] = f"[latticework] {event.subject}"
        letter["Date"] = format_datetime(datetime.fromtimestamp(event.at, UTC))
        letter["Message-ID"] = make_msgid(domain="latticework.invalid")
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(event.text)
        return letter

    def _send(self, letter: EmailMessage, password: str | None) -> None:
        trusted = ssl.create_default_context()
        server: smtplib.SMTP
        if self.security == "tls":
            server = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=trusted)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
        with server:
            if self.security == "starttls":
                server.starttls(context=trusted)
            if self.user is not None:
                server.login(self.user, password or "")
            server.send_message(letter)


def email(
    to: str | Iterable[str],
    *,
    sender: str | None = None,
    host: str = "localhost",
    port: int | None = None,
    security: str | None = None,
    user: str | None = None,
    password_env: str | None = None,
    password_file: Path | str | None = None,
    timeout_s: float = 20.0,
) -> Email:
    """A hook that sends a letter about each event.

    Parameters
    ----------
    to
        Address, or addresses.
    sender
        Address that it comes from; the first of `to` if not given.
    host, port
        The mail server; the port that is usual for `security` if not given.
    security
        ``"starttls"``, ``"tls"``, or ``"none"`` for a server on this very machine or one that
        wants no password. ``"none"`` on this machine, else ``"starttls"``, if not given.
    user, password_env, password_file
        How to log in: the password is in a variable of the environment, or in a file that only
        its owner may read. It is read when a letter is sent, and kept nowhere.
    timeout_s
        Seconds to wait for the server.

    Raises
    ------
    ProjectError
        If an address is none, or a password would travel in clear.

    Examples
    --------
    >>> hook = email("ada@example.org", host="smtp.example.org", user="ada",
    ...     password_env="SMTP_PASSWORD")
    >>> hook.port, hook.security
    (587, 'starttls')

    ``project.on("stage paused itself", hook)``
    """
    addresses = (to,) if isinstance(to, str) else tuple(to)
    for address in (*addresses, *([] if sender is None else [sender])):
        _check_address(address)
    if not addresses:
        raise ProjectError("to=[] names nobody to write to")
    chosen = security or ("none" if is_this_machine(host) else "starttls")
    if chosen not in SECURITIES:
        raise ProjectError(f"security={security!r} is none of {', '.join(SECURITIES)}")
    secrets = [given for given in (password_env, password_file) if given is not None]
    if len(secrets) != (0 if user is None else 1):
        raise ProjectError(
            "to log in at a mail server give user= and one of password_env= and password_file="
        )
    if user is not None and chosen == "none" and not is_this_machine(host):
        raise ProjectError(
            f"the password for {host} would travel in clear: use security='starttls' or 'tls'"
        )
    return Email(
        *(addresses, sender or addresses[0], host, PORTS[chosen] if port is None else port, chosen),
        user=user,
        password_env=password_env,
        password_file=password_file,
        timeout_s=timeout_s,
    )


def _check_address(address: str) -> None:
    name, plain = parseaddr(address)
    control = any(ord(c) < 32 for c in address)
    if control or not plain or plain.count("@") != 1 or plain.startswith("@") or plain[-1] == "@":
        raise ProjectError(f"{address!r} is no address to write to: give one as ada@example.org")
    del name
