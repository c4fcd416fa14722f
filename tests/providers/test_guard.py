"""No template, no connection config and no name server leads a request into our own network."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import Reason
from server.providers.addresses import why_forbidden
from server.providers.interpolation import InterpolationError, Values, is_url, render_text, render_url
from server.providers.outbound import Outbound
from server.refresh.ports import ExchangeFailed, FailureKind
from tests.providers.support import Endpoint, Setup, request

FORBIDDEN_V4 = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24",
    "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
]  # fmt: skip
FORBIDDEN_V6 = [
    "::/96", "::1/128", "fe80::/10", "fc00::/7", "fec0::/10", "ff00::/8", "2002::/16", "2001::/32", "2001:db8::/32",
    "64:ff9b:1::/48", "100::/64",
]  # fmt: skip


def inside(network: str) -> st.SearchStrategy[str]:
    return st.ip_addresses(network=network).map(str)


@given(st.sampled_from(FORBIDDEN_V4).flatmap(inside))
def test_no_forbidden_ipv4_address_in_any_disguise(address: str) -> None:
    number = int(IPv4Address(address))
    assert why_forbidden(address)
    assert why_forbidden(str(IPv6Address((0xFFFF << 32) | number)))
    assert why_forbidden(str(IPv6Address(int(IPv6Address("64:ff9b::")) | number)))
    assert why_forbidden(str(IPv6Address(int(IPv6Address("2002::")) | (number << 80))))


@given(st.sampled_from(FORBIDDEN_V6).flatmap(inside))
def test_no_forbidden_ipv6_address(address: str) -> None:
    assert why_forbidden(address)


@given(st.ip_addresses(v=4))
def test_public_ipv4_addresses_pass(address: IPv4Address) -> None:
    listed = any(address in IPv4Network(network) for network in FORBIDDEN_V4)
    expected = listed or not address.is_global or address.is_multicast
    assert bool(why_forbidden(str(address))) == expected
    assert bool(why_forbidden(f"::ffff:{address}")) == expected


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert why_forbidden(address) is None


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0x7f.1", "fe80::1%eth0", "1.2.3.4.5"])
def test_what_is_no_public_address(address: str) -> None:
    assert why_forbidden(address)


class Zone(AbstractResolver):
    """A name server that answers as told."""

    def __init__(self, **names: list[str]) -> None:
        self.names = {name.replace("_", "."): addresses for name, addresses in names.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError("no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.names[host]
        ]

    async def close(self) -> None:
        """Hold nothing."""


async def refused(outbound: Outbound, url: str) -> ExchangeFailed:
    try:
        with pytest.raises(ExchangeFailed) as caught:
            await outbound.post(url, headers={}, body=b"", timeout=5)
    finally:
        await outbound.close()
    assert not caught.value.maybe_spent
    return caught.value


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.1.2.3"], ["169.254.169.254"], ["::1"], ["::ffff:10.0.0.1"], ["fd00:ec2::254"],
     ["8.8.8.8", "127.0.0.1"], ["100.100.100.200"]],
)  # fmt: skip
async def test_names_that_lead_inside_are_refused(endpoint: Endpoint, addresses: list[str]) -> None:
    failed = await refused(
        Outbound(resolver=Zone(evil_example=addresses)), f"https://evil.example:{endpoint.port}/token"
    )
    assert (failed.kind, failed.reason) == (FailureKind.CONFIGURATION, Reason.INTEGRATION_MISCONFIGURED)
    assert "forbidden address" in failed.detail
    assert endpoint.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to(endpoint: Endpoint) -> None:
    zone = Zone(inside_example=["127.0.0.1"])
    outbound = Outbound(resolver=zone, allowed_hosts=frozenset({"Inside.Example"}))
    got = await outbound.post(f"http://inside.example:{endpoint.port}/t", headers={}, body=b"x", timeout=5)
    await outbound.close()
    assert got.status == 200
    assert zone.asked == ["inside.example"]


async def test_an_unknown_name_is_an_outage() -> None:
    failed = await refused(Outbound(resolver=Zone()), "https://gone.example/token")
    assert (failed.kind, failed.reason) == (FailureKind.TRANSIENT, Reason.PROVIDER_UNAVAILABLE)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "0.0.0.0", "2130706433", "127.1",
     "[fe80::1]", "[64:ff9b::7f00:1]", "0177.0.0.1"],
)  # fmt: skip
async def test_literal_addresses_are_refused(endpoint: Endpoint, host: str) -> None:
    failed = await refused(Outbound(), f"https://{host}:{endpoint.port}/token")
    assert failed.kind is FailureKind.CONFIGURATION
    assert endpoint.connections == 0


@pytest.mark.parametrize(
    "url",
    ["http://provider.example/token", "ftp://provider.example/", "//provider.example/", "token", "", "https://",
     "https://user:pass@provider.example/", "https://user@provider.example/", "https://:1/", "https://a:99999/",
     "https://[::1/"],
)  # fmt: skip
async def test_urls_that_are_not_plain_https_are_refused(url: str) -> None:
    failed = await refused(Outbound(resolver=Zone()), url)
    assert failed.kind is FailureKind.CONFIGURATION
    assert "pass" not in failed.detail.replace("password", "")


async def test_an_allowed_port_allows_no_other(endpoint: Endpoint) -> None:
    other = Outbound(allowed_hosts=frozenset({"127.0.0.1:1"}))
    assert (await refused(other, endpoint.url)).kind is FailureKind.CONFIGURATION
    any_port = Outbound(allowed_hosts=frozenset({"127.0.0.1"}))
    assert (await any_port.post(endpoint.url, headers={}, body=b"", timeout=5)).status == 200
    await any_port.close()


async def test_a_proxy_is_used_only_if_given(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{endpoint.host}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://{endpoint.host}")
    zone = Zone()
    await refused(Outbound(resolver=zone), "https://gone.example/token")
    assert endpoint.connections == 0
    given_one = Outbound(
        resolver=Zone(proxy_example=["127.0.0.1"]),
        proxy=f"http://proxy.example:{endpoint.port}",
        allowed_hosts=frozenset({"gone.example"}),
    )
    got = await given_one.post("http://gone.example/token", headers={}, body=b"", timeout=5)
    await given_one.close()
    assert got.status == 200
    assert endpoint.last.line == "POST http://gone.example/token HTTP/1.1"


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="abc.:/@?#\\%[]-_ \t\r\n", max_size=12),
    st.sampled_from(
        ["evil.com/", "evil.com#", "evil.com?", "a@evil.com", "evil.com:1", "evil.com\\", "..", ".", "a..b", "-a",
         "evil.com%2f", "x\r\nHost: y", "\uff11\uff12", "evil.com/@", "%2e%2e", "[::1]", "127.0.0.1:80"]
    ),
)  # fmt: skip


@given(HOSTILE)
def test_no_value_changes_the_host(value: str) -> None:
    for template, suffix in (
        ("https://${connectionConfig.x}.acme.example/t", ".acme.example"),
        ("https://api.acme.example/${connectionConfig.x}/t?q=${connectionConfig.x}", "api.acme.example"),
    ):
        try:
            url = render_url(template, Values(config={"x": value}))
        except InterpolationError:
            continue
        target = Outbound().check(url)
        assert target.host is not None
        assert (target.host == suffix) or (target.host.endswith(suffix) and suffix[0] == ".")
        assert target.port == 443
        assert target.user is None
        assert target.fragment == ""
        assert urlsplit(url).hostname == target.host
        if suffix[0] != ".":
            assert target.raw_path.startswith("/")
            assert target.raw_path.endswith("/t")
            assert target.raw_path.count("/") == 2


@given(HOSTILE)
def test_a_whole_host_from_the_config_is_only_a_host(value: str) -> None:
    try:
        url = render_url("https://${connectionConfig.domain}/oauth/token", Values(config={"domain": value}))
    except InterpolationError:
        return
    parts = urlsplit(url)
    assert parts.netloc == value
    assert (parts.path, parts.query, parts.fragment, parts.username) == ("/oauth/token", "", "", None)


@pytest.mark.parametrize(
    ("template", "config", "url"),
    [
        ("${connectionConfig.u}", {"u": "https://a.example:8443/x/token?y=1"}, "https://a.example:8443/x/token?y=1"),
        ("${connectionConfig.u}/token", {"u": "https://a.example/base/"}, "https://a.example/base/token"),
        ("https://${connectionConfig.d}/t", {"d": "git.acme.example:8443"}, "https://git.acme.example:8443/t"),
        ("https://a.example/${connectionConfig.n}", {"n": 7.0}, "https://a.example/7"),
        ("https://a.example/${connectionConfig.n}", {"n": True}, "https://a.example/true"),
    ],
)
def test_values_in_urls(template: str, config: dict[str, object], url: str) -> None:
    assert is_url(template)
    assert render_url(template, Values(config=config)) == url


@pytest.mark.parametrize(
    "value", ["evil", "ftp://a.example", "https://u:p@a.example", "https://a.example#f", "https://", ""]
)
@pytest.mark.parametrize("template", ["${connectionConfig.u}", "${connectionConfig.u}/token"])
def test_a_base_url_must_be_one(template: str, value: str) -> None:
    with pytest.raises(InterpolationError, match=r"connection_config\.u"):
        render_url(template, Values(config={"u": value}))


@pytest.mark.parametrize("value", [None, ""])
async def test_a_missing_value_is_named_and_nothing_is_sent(setup: Setup, endpoint: Endpoint, value: object) -> None:
    exchange = setup.exchange("refresh_params: {t: '${connectionConfig.tenant}'}\nconnection_config: {tenant: {}}\n")
    with pytest.raises(ExchangeFailed, match=r"connection_config\.tenant is missing") as caught:
        await exchange.send(request(config={"tenant": value}), timeout=5)
    assert (caught.value.kind, caught.value.reason) == (
        FailureKind.CONFIGURATION,
        Reason.INTEGRATION_MISCONFIGURED,
    )
    assert endpoint.received == []


async def test_token_host_needs_its_values(setup: Setup) -> None:
    exchange = setup.exchange("token_url: https://${connectionConfig.s}.acme.example/t\nconnection_config: {s: {}}\n")
    assert exchange.token_host(request(config={"s": "eu"})) == "eu.acme.example:443"
    with pytest.raises(ExchangeFailed, match=r"connection_config\.s is missing"):
        exchange.token_host(request())


@pytest.mark.parametrize("value", [[], {}, ["x"]])
def test_only_simple_values_are_put_into_texts(value: object) -> None:
    with pytest.raises(InterpolationError, match="must be a text"):
        render_text("${connectionConfig.x}", Values(config={"x": value}))


def test_headers_take_no_line_breaks() -> None:
    with pytest.raises(InterpolationError, match="control characters"):
        render_text("x ${connectionConfig.h}", Values(config={"h": "a\r\nHost: evil"}))


@given(st.sampled_from([IPv6Network("2001:4860::/32"), IPv6Network("2a00::/12")]).flatmap(lambda n: inside(str(n))))
def test_public_ipv6_addresses_pass(address: str) -> None:
    assert why_forbidden(address) is None
