"""Whom a sink trusts over TLS, and how it proves itself: one set of options, and one place that makes a context of them."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guardrail import notices
from guardrail.delivery.address import Address, Option, choice
from guardrail.errors import ConfigError
from guardrail.settings.values import text

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def file(word: str, where: str) -> str:
    """Return an absolute path.

    Raises:
        ConfigError: It is none.
    """
    found = text(word, where)
    if not found.startswith("/"):
        raise ConfigError(f"{where} must be an absolute path")
    return found


FILES: Final[Mapping[str, Option]] = {
    "ca": Option(file, None, "a file with the certificates of authorities to trust, instead of the system's"),
    "cert": Option(file, None, "a file with a certificate of our own, and its key where `key` names no other"),
    "key": Option(file, None, "the file with the key of that certificate"),
}
NAME: Final[Mapping[str, Option]] = {
    "server_name": Option(text, None, "the name that the other side's certificate must be for, where that is not the host"),
}
OPTIONS: Final[Mapping[str, Option]] = {
    **FILES, **NAME,
    "tls": Option(choice(*_VERSIONS), "1.2", "the oldest version of TLS that is spoken"),
}  # fmt: skip


class NotReadable(Exception):
    """A file that the options name cannot be read, or is not what it should be; says which, and nothing of what is in it."""


class Trust(NamedTuple):
    """Whom to trust.

    Attributes:
        where: What a notice calls the setting.
        ca: A file with the certificates of authorities; None for the system's.
        cert: A file with a certificate of our own; None for none.
        key: The file with its key; None where `cert` has it.
        name: The name that the other side's certificate must be for; None for the host's.
        oldest: The oldest version of TLS.
        verify: Whether the other side's certificate is checked.
    """

    where: str
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    name: str | None = None
    oldest: str = "1.2"
    verify: bool = True

    @classmethod
    def of(cls, address: Address) -> Trust:
        """Return what an address' options say; those that its scheme does not know count as not given.

        Raises:
            ConfigError: They give a key without its certificate.
        """
        options: Mapping[str, Any] = address.options
        if options.get("key") is not None and options.get("cert") is None:
            raise ConfigError(f"{address.where} gives a key without its certificate", hint="add cert=/path/of/the/certificate")
        return cls(
            address.where, options.get("ca"), options.get("cert"), options.get("key"), options.get("server_name"),
            options.get("tls", "1.2"), not options["insecure"],
        )  # fmt: skip

    def named(self, host: str) -> str:
        """Return the name that a host's certificate must be for."""
        return (self.name or host).rstrip(".")

    def context(self) -> ssl.SSLContext:
        """Read the files, and return what a connection needs.

        Raises:
            NotReadable: One of them cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError:
            raise NotReadable("the certificates that ca names cannot be read") from None
        context.minimum_version = _VERSIONS[self.oldest]
        if self.cert is not None:
            try:
                # Without a password of ours OpenSSL would ask for one at the terminal, and wait.
                context.load_cert_chain(self.cert, self.key, password=lambda: b"")
            except OSError:
                raise NotReadable("the certificate that cert names, or its key, cannot be read") from None
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.tell()
        return context

    def tell(self) -> None:
        """Say once that the other side's certificate is not checked, where it is not."""
        if not self.verify:
            notices.say(
                f"insecure-{self.where}", f"{self.where}: the certificate of the other side is not checked (insecure=true)"
            )
