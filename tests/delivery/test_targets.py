"""Targets that come from data: none leads into our own network, by whatever spelling or trick of names."""

from __future__ import annotations

import socket

import pytest
from web import answer, certificates, peer, server_context

from guardrail import InvalidInput
from guardrail.delivery import http, targets
from guardrail.delivery.targets import checked_target, is_metadata, refusal


@pytest.fixture
def names(monkeypatch):
    """What names stand for; looking one up takes the next answer."""
    known: dict[str, list[list[str]]] = {}
    really = socket.getaddrinfo
    asked: list[str] = []

    def look_up(host, port, *args, **kwargs):
        if host not in known:
            return really(host, port, *args, **kwargs)
        asked.append(host)
        found = known[host].pop(0)
        return [(socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    known["asked"] = [asked]
    return known


@pytest.mark.parametrize(
    "address, word",
    [
        ("10.1.2.3", "private"), ("172.31.0.1", "private"), ("192.168.1.1", "private"), ("100.64.0.1", "private"),
        ("127.0.0.1", "loopback"), ("127.9.9.9", "loopback"), ("::1", "loopback"), ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"), ("fe80::1%eth0", "link-local"), ("224.0.0.1", "multicast"), ("ff02::1", "multicast"),
        ("240.0.0.1", "reserved"), ("255.255.255.255", "reserved"), ("192.0.2.1", "reserved"), ("198.18.0.1", "reserved"),
        ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"), ("::", "unspecified"), ("fc00::1", "private"),
        ("fdff::1", "private"), ("fec0::1", "private"), ("2001:db8::1", "reserved"), ("2001::1", "reserved"),
        ("::127.0.0.1", "reserved"), ("64:ff9b:1::1", "reserved"), ("::ffff:0:127.0.0.1", "reserved"), ("4000::1", "reserved"),
        ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.0.0.1", "private"), ("2002:7f00:1::", "loopback"),
        ("2002:a9fe:a9fe::1", "metadata"), ("64:ff9b::7f00:1", "loopback"), ("64:ff9b::a9fe:a9fe", "metadata"),
        ("::ffff:169.254.169.254", "metadata"), ("169.254.169.254", "metadata"), ("fd00:ec2::254", "metadata"),
        ("100.100.100.200", "metadata"), ("168.63.129.16", "metadata"),
        ("8.8.8.8", ""), ("172.32.0.1", ""), ("100.128.0.1", ""), ("2606:4700::1111", ""), ("::ffff:8.8.8.8", ""),
        ("64:ff9b::808:808", ""), ("2002:808:808::1", ""),
    ],
)  # fmt: skip
def test_every_kind_of_address(address, word):
    """Each special range is told by its word, and an IPv4 address inside an IPv6 one is what it stands for."""
    assert refusal(address) == word
    assert is_metadata(address) == (word == "metadata")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x", "ftp://hooks.example/x", "hooks.example/x", "https:///x", "https://", "", "javascript:alert(1)",
        "https://user:secret@hooks.example/x", "https://hooks.example:22/x", "https://hooks.example:0/x",
        "https://hooks.example:99999/x", "https://hooks.example:x/", "https://[::1/x", "https://hooks.example\\@10.0.0.1/",
        "https://hooks.example/\r\nX: 1", "https://hooks.example/a b", "https://hööks.example/", "https://[fe80::1%25eth0]/",
        "https://hooks.example/" + "x" * 3000, "https://" + "a" * 300 + ".example/", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_urls_that_are_refused(url, names):
    """Only https, on its ports, without users: and what was refused is not repeated."""
    names["hooks.example"] = [["8.8.8.8"]]
    with pytest.raises(InvalidInput) as caught:
        checked_target(url)
    assert "hooks" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://[::1]/",
     "https://[::ffff:127.0.0.1]/", "https://localhost/", "https://0/", "https://0.0.0.0:8443/"],
)  # fmt: skip
def test_this_machine_by_other_spellings(url):
    """However it is written, it is this machine."""
    with pytest.raises(InvalidInput, match="loopback|unspecified"):
        checked_target(url)


def test_a_public_target(names):
    """What everybody can reach is fine, with all of its addresses."""
    names["hooks.example"] = [["8.8.8.8", "2606:4700::1111", "8.8.8.8"]]
    found = checked_target("https://Hooks.Example/a/b?c=d#e")
    assert found == ("hooks.example", 443, "/a/b?c=d", ("8.8.8.8", "2606:4700::1111"))
    names["hooks.example"] = [["8.8.8.8"]]
    assert checked_target("https://hooks.example:8443").path == "/"


def test_one_bad_address_among_good_ones(names):
    """A name that stands for a public and a private address is refused."""
    names["hooks.example"] = [["8.8.8.8", "10.0.0.1"]]
    with pytest.raises(InvalidInput, match="a private address"):
        checked_target("https://hooks.example/")


@pytest.mark.parametrize("address, passes", [("10.0.0.1", True), ("127.0.0.1", True), ("fd12::1", True),
                                             ("169.254.169.254", False), ("100.100.100.200", False), ("fd00:ec2::254", False),
                                             ("169.254.1.1", False), ("224.0.0.1", False), ("0.0.0.0", False)])  # fmt: skip
def test_what_may_be_allowed(address, passes, names):
    """Private networks can be allowed; what gives away credentials never."""
    names["hooks.example"] = [[address]]
    if passes:
        assert checked_target("https://hooks.example/", allow_private=True).addresses == (address,)
    else:
        with pytest.raises(InvalidInput):
            checked_target("https://hooks.example/", allow_private=True)


def test_a_name_that_is_not_known_may_be_later(names, monkeypatch):
    """That is no fault of the target's: an OSError."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(targets.socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="Temporary failure"):
        checked_target("https://hooks.example/")


def test_what_was_checked_is_what_is_connected_to(names, tmp_path):
    """A name that means something else a moment later changes nothing; certificate and `Host` are still the name's."""
    ca, certificate, _ = certificates(tmp_path)
    names["hooks.example"] = [["127.0.0.1"], ["127.0.0.66"]]
    with peer(answer(200), server_context(certificate)) as other:
        target = checked_target(f"https://hooks.example:{other.port}/in?a=b", allow_private=True, ports=(other.port,))
        client = http.Client.to(target, 5.0)
        client._trusted = client._trusted._replace(ca=str(ca))  # the system does not know our authority
        for _ in range(2):
            assert client.post(target.path, b"{}", {}).status == 200
            client.close()
    assert names["asked"] == [["hooks.example"]]
    assert other.names == ["hooks.example"] * 2
    head = other.requests[0].decode()
    assert head.startswith("POST /in?a=b HTTP/1.1\r\n")
    assert f"\r\nHost: hooks.example:{other.port}\r\n" in head
