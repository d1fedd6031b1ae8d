"""The targets of webhooks: addresses and URLs to which no delivery may be sent."""

from ipaddress import ip_address

import pytest

from svgx_common.contract.errors import Invalid
from svgx_state.events.name_lookups import NameLookups
from svgx_state.events.targets import (
    TargetRefused,
    allowed_addresses,
    is_allowed,
    parse_networks,
    parse_target,
)

PUBLIC_ADDRESSES = ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:80e::200e"]

REFUSED_ADDRESSES = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.1.1",
    "169.254.169.254",  # metadata of AWS, Google Cloud and Azure
    "100.64.0.1",
    "100.100.100.200",  # metadata of Alibaba Cloud
    "168.63.129.16",  # the platform address of Azure
    "192.0.0.192",  # metadata of Oracle Cloud
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:7f00:1::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo of the client 127.0.0.1
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata of AWS
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "100::1",
]


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_public_address_is_allowed(address: str) -> None:
    """Addresses of the public internet need no setting. Proves R-EVENT-9."""
    assert is_allowed(ip_address(address), ())


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_private_or_reserved_address_is_refused(address: str) -> None:
    """An IPv4 address is refused also as a part of an IPv6 address. Proves R-EVENT-9."""
    assert not is_allowed(ip_address(address), ())


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "192.168.0.0/16, 10.1.2.3", True),
        ("169.254.169.254", "10.0.0.0/8", False),
        ("fd12::1", "fd12::/16", True),
        ("127.0.0.1", "::1/128", False),
    ],
)
def test_network_in_the_setting_is_allowed(address: str, networks: str, allowed: bool) -> None:
    """`WEBHOOK_ALLOWED_NETWORKS` allows exactly the networks that it names. Proves R-EVENT-9."""
    assert is_allowed(ip_address(address), parse_networks(networks)) == allowed


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "gopher://hooks.example.org/",
        "//hooks.example.org/",
        "hooks.example.org",
        "https://",
        "https:///path",
        "https://user@hooks.example.org/",
        "https://user:password@hooks.example.org/",
        "https://hooks.example.org@127.0.0.1/",
        "https://hooks.example.org\\@127.0.0.1/",
        "https://hooks.example.org/#fragment",
        "https://hooks.example.org:0/",
        "https://hooks.example.org:99999/",
        "https://hooks.example.org:x/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://1.2.3.4.5/",
        "https://0/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.x]/",
        "https://hooks..example.org/",
        "https://-hooks.example.org/",
        "https://hooks.example.org%2f@evil/",
        "https://%31%32%37.0.0.1/",
        f"https://{'a' * 64}.example.org/",
        f"https://{'.'.join(['a' * 60] * 5)}/",
    ],
)
def test_url_of_a_wrong_form_is_refused(url: str) -> None:
    """The error names the field `url`. Proves R-EVENT-9."""
    with pytest.raises(Invalid) as error:
        parse_target(url, require_https=True)
    assert error.value.field == "url"


def test_plain_http_is_refused_in_production_only() -> None:
    """Outside production, `http://` uses port 80. Proves R-EVENT-9."""
    assert parse_target("http://example.org", require_https=False).port == 80
    with pytest.raises(Invalid, match="production"):
        parse_target("http://example.org", require_https=True)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://Hooks.Example.org", "hooks.example.org", "/"),
        ("https://hooks.example.org:8443/a?b=c", "hooks.example.org:8443", "/a?b=c"),
        ("https://192.0.2.1/a", "192.0.2.1", "/a"),
        ("https://[2001:db8::1]:443/?q", "[2001:db8::1]", "/?q"),
        ("https://[2001:db8::1]:444/", "[2001:db8::1]:444", "/"),
    ],
)
def test_url_gives_the_host_header_and_the_path(url: str, authority: str, path: str) -> None:
    """Proves R-EVENT-9: the header `Host` has the host of the URL, without the default port."""
    target = parse_target(url, require_https=True)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    "addresses",
    [[], ["127.0.0.1"], ["93.184.215.14", "10.0.0.1"], ["fe80::1%eth0"], ["nonsense"]],
    ids=["empty answer", "private", "one of two", "with a zone", "not an address"],
)
async def test_name_with_a_refused_address_is_refused(addresses: list[str]) -> None:
    """One refused address among several is enough. Proves R-EVENT-9."""

    async def resolve(_: str) -> list[str]:
        return addresses

    target = parse_target("https://hooks.example.org", require_https=True)
    with pytest.raises(TargetRefused):
        await allowed_addresses(target, (), resolve)


@pytest.mark.parametrize("host", ["localhost", "localhost.", "127.0.0.1", "[::1]"])
async def test_host_that_is_this_machine_is_refused(host: str) -> None:
    """The operating system resolves the host to a loopback address. Proves R-EVENT-9."""
    target = parse_target(f"https://{host}/", require_https=True)
    with pytest.raises(TargetRefused):
        await allowed_addresses(target, (), NameLookups().resolve)


async def test_unknown_name_is_refused() -> None:
    """A name that DNS does not have is refused. Proves R-EVENT-9."""

    async def resolve(_: str) -> list[str]:
        raise OSError

    target = parse_target("https://hooks.invalid", require_https=True)
    with pytest.raises(TargetRefused, match="cannot be resolved"):
        await allowed_addresses(target, (), resolve)
