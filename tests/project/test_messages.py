"""Letters and webhooks: with servers that are really there, and secrets that stay secret."""

import base64
import email
import shutil
from email.policy import default

import pytest

import latticework as lw
from latticework.errors import ProjectError
from latticework.project.events import Event
from latticework.project.secrets import read_secret
from tests.project.servers import certificate, mail_server, web_server

EVENT = Event(
    *("units failed", "3 units have failed in stage 'ähnlich'", "/data/brain.lw"),
    stage="ähnlich",
    tiles=("y0_x1", "y3_x2"),
    host="node7",
    at=1_700_000_000.0,
    counts={"failed": 3},
)


def read(letter):
    return email.message_from_bytes(letter, policy=default)


# -------------------------------------------------------------------- letters


def test_a_letter_says_what_happened_and_where():
    with mail_server() as server:
        lw.email(["ada@example.org", "bob@example.org"], host="localhost", port=server.port)(EVENT)
    (letter,) = map(read, server.letters)
    assert letter["To"] == "ada@example.org, bob@example.org"
    assert letter["From"] == "ada@example.org"
    assert letter["Subject"] == "[latticework] brain.lw: 3 units have failed in stage 'ähnlich'"
    text = letter.get_content()
    for part in ("stage: ähnlich", "host: node7", "tiles: y0_x1, y3_x2", "failed: 3", "2023-11-14"):
        assert part in text
    assert not any(word.startswith(("AUTH", "STARTTLS")) for word, _ in server.heard)


def test_a_message_cannot_add_headers_to_a_letter():
    event = Event("first failure", "dark\r\nBcc: eve@example.org\n\nhello", "/data/brain.lw")
    with mail_server() as server:
        lw.email("ada@example.org", port=server.port)(event)
    (letter,) = map(read, server.letters)
    assert letter["Bcc"] is None
    assert not any("eve" in word for word, _ in server.heard if word.startswith("RCPT"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_password_travels_only_within_tls(tmp_path, monkeypatch):
    cert, context = certificate(tmp_path)
    monkeypatch.setenv("MAIL_PASSWORD", "s3cret")
    with mail_server(context=context) as server:
        hook = lw.email(
            "ada@example.org",
            host="localhost",
            port=server.port,
            security="starttls",
            user="ada",
            password_env="MAIL_PASSWORD",
        )
        with pytest.raises(ProjectError, match=r"did not take a letter \(SSLCertVerif"):
            hook(EVENT)  # nobody vouches for the server
        assert not server.letters
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        hook(EVENT)
    assert len(server.letters) == 1
    (auth,) = [(word, secure) for word, secure in server.heard if word.startswith("AUTH")]
    assert auth[1]
    assert base64.b64decode(auth[0].split()[-1]) == b"\0ada\0s3cret"
    assert "s3cret" not in repr(hook)


def test_a_server_without_tls_gets_no_letter_if_tls_was_asked_for():
    with mail_server() as server:
        hook = lw.email("ada@example.org", port=server.port, security="starttls")
        with pytest.raises(ProjectError, match=r"did not take a letter \(SMTPNotSupported"):
            hook(EVENT)
    assert not server.letters


def test_a_server_that_refuses_is_named():
    with mail_server(refuses=True) as server:
        hook = lw.email("ada@example.org", port=server.port)
        with pytest.raises(ProjectError, match=f"localhost:{server.port} did not take a letter"):
            hook(EVENT)
    with pytest.raises(ProjectError, match="did not take a letter"):
        hook(EVENT)  # it is gone now


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "ada"}, "'ada' is no address"),
        ({"to": []}, "names nobody"),
        ({"to": "ada@example.org\nBcc: eve@example.org"}, "is no address"),
        ({"sender": "nobody"}, "'nobody' is no address"),
        ({"security": "ssl"}, "none of starttls, tls, none"),
        ({"user": "ada"}, "one of password_env"),
        ({"password_env": "X"}, "give user="),
        ({"user": "ada", "password_env": "X", "password_file": "y"}, "one of password_env"),
        (
            {"host": "mail.example.org", "security": "none", "user": "a", "password_env": "X"},
            "would travel in clear",
        ),
    ],
)
def test_letters_that_cannot_be_sent_are_refused_at_once(options, message):
    with pytest.raises(ProjectError, match=message):
        lw.email(**{"to": "ada@example.org", **options})


# -------------------------------------------------------------------- webhooks


def test_a_webhook_gets_the_event_as_json(monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nothing on this machine needs one
    with web_server() as server:
        lw.webhook(f"{server.url}/hooks/abc", token_env="HOOK_TOKEN")(EVENT)
    ((path, headers, document),) = server.got
    assert path == "/hooks/abc"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer s3cret"
    assert document == EVENT.to_json()
    assert document["time"] == "2023-11-14T22:13:20+00:00"


def test_a_service_may_want_another_document():
    with web_server() as server:
        lw.webhook(server.url, body=lambda event: {"text": event.subject})(EVENT)
    assert server.got[0][2] == {"text": EVENT.subject}


def test_errors_of_a_webhook_tell_no_secrets(monkeypatch):
    monkeypatch.setenv("HOOK_TOKEN", "t0ken")
    with web_server(code=403) as server:
        hook = lw.webhook(f"{server.url}/hooks/s3cret", token_env="HOOK_TOKEN")
        with pytest.raises(
            ProjectError, match=r"the webhook at 127\.0\.0\.1 answered 403"
        ) as refused:
            hook(EVENT)
    with pytest.raises(ProjectError, match="cannot be reached") as gone:
        hook(EVENT)
    for error in (refused.value, gone.value):
        assert error.__cause__ is None
        assert error.__suppress_context__
        assert not any(secret in str(error) for secret in ("s3cret", "t0ken"))
    assert "s3cret" not in repr(hook)


def test_a_webhook_does_not_follow_elsewhere():
    with (
        web_server() as other,
        web_server(code=302, location=other.url) as server,
        pytest.raises(ProjectError, match="answered 302"),
    ):
        lw.webhook(server.url)(EVENT)
    assert other.got == []


def test_a_service_that_does_not_answer_is_given_up():
    with (
        web_server(delay_s=1.0) as server,
        pytest.raises(ProjectError, match=r"cannot be reached \(TimeoutError\)"),
    ):
        lw.webhook(server.url, timeout_s=0.2)(EVENT)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("http://example.org/s3cret", {}, "plain http can be read by everybody"),
        ("https://ada:pw@example.org/s3cret", {}, "holds a user or password"),
        ("file:///etc/s3cret", {}, "no address of a webhook"),
        ("example.org/s3cret", {}, "no address of a webhook"),
        ("https://exam ple.org/s3cret", {}, "no address of a webhook"),
        ("https://example.org:port/s3cret", {}, "no address of a webhook"),
        ("https://example.org/s3cret", {"token_env": "A", "token_file": "b"}, "not both"),
    ],
)
def test_addresses_that_are_not_safe_are_refused_and_not_shown(url, options, message):
    with pytest.raises(ProjectError, match=message) as refused:
        lw.webhook(url, **options)
    assert "s3cret" not in str(refused.value)
    assert "pw" not in str(refused.value).replace("password", "")


def test_plain_http_elsewhere_is_a_decision():
    assert lw.webhook("http://example.org/", insecure=True).url == "http://example.org/"


# -------------------------------------------------------------------- secrets


def test_a_secret_is_read_only_from_where_others_cannot_read_it(tmp_path, monkeypatch):
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    path.chmod(0o640)
    with pytest.raises(ProjectError, match=r"mode 0640.*chmod 600"):
        read_secret(env=None, file=path, what="a password")
    path.chmod(0o600)
    assert read_secret(env=None, file=path, what="a password") == "s3cret"
    path.write_text("\n")
    with pytest.raises(ProjectError, match="its first line is empty"):
        read_secret(env=None, file=path, what="a password")
    with pytest.raises(ProjectError, match="No such file"):
        read_secret(env=None, file=tmp_path / "none", what="a password")
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ProjectError, match="NOT_SET is to hold a password, and is not set"):
        read_secret(env="NOT_SET", file=None, what="a password")
