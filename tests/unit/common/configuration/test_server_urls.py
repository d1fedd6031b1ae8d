"""The URLs of NATS, PostgreSQL and Redis."""

from collections.abc import Callable
from urllib.parse import quote

import asyncpg
import pytest

from svgx_common import redis
from svgx_common.configuration.server_urls import (
    NatsServers,
    check_nats,
    check_postgres,
    check_redis,
    parse_nats,
)

PASSWORDS = (
    "p@ss",
    "a:b",
    "a/b",
    "a?b",
    "a#b",
    "a%b",
    "100%25",
    "a b",
    "a+b",
    "a,b",
    "a&b=c",
    "[x]",
    "\\'\"`$",
    "çédille",
    "пароль",
    "🔑",
    "@:/?#[]@!$&'()*+,;=%",
)


@pytest.mark.parametrize("password", PASSWORDS)
def test_credentials_of_nats_are_decoded(password: str) -> None:
    """Proves R-CONFIG-4: user, password and token may have any character, written as %XX."""
    encoded = quote(password, safe="")
    assert parse_nats(f"nats://{encoded}:{encoded}@one:4222,nats://two") == NatsServers(
        ("nats://one:4222", "nats://two"), user=password, password=password
    )
    assert parse_nats(f"tls://{encoded}@[::1]") == NatsServers(("tls://[::1]",), token=password)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nats://one", NatsServers(("nats://one",))),
        (" nats://one:1/ , nats://two:2\n", NatsServers(("nats://one:1", "nats://two:2"))),
        ("nats://u:p@a,nats://u:p@b", NatsServers(("nats://a", "nats://b"), "u", "p")),
        ("nats://a,nats://u:p@b", NatsServers(("nats://a", "nats://b"), "u", "p")),
        ("nats://u:@a", NatsServers(("nats://a",), "u", "")),
        ("nats://u:p@ss@a", NatsServers(("nats://a",), "u", "p@ss")),
        ("nats://u:100%@a", NatsServers(("nats://a",), "u", "100%")),
    ],
)
def test_servers_of_nats_share_their_credentials(text: str, servers: NatsServers) -> None:
    """Proves R-CONFIG-4: servers without credentials get those of the others."""
    assert parse_nats(text) == servers


@pytest.mark.parametrize(
    ("check", "text"),
    [
        *(
            (check_nats, text)
            for text in (
                "hunter2",
                "",
                "nats:",
                "nats://",
                "nats:hunter2",
                "nats:///hunter2",
                "nats://u:hunter2@",
                "nats://u:hunter2@:4222",
                "http://nats:4222",
                "ws://nats:80",  # needs a library that the services do not have
                "nats://a:0",
                "nats://a:65536",
                "nats://a:4222x",
                "nats://a:4222/hunter2",
                "nats://a?hunter2=1",
                "nats://u:1#hunter2@a",
                "nats://u:1/hunter2@a:4222",
                "nats://u:1?hunter2@a:4222",
                "nats://a..hunter2",
                "nats://a,",
                "nats://a,,nats://b",
                "nats://a,hunter2",
                "nats://u:hunter2@a,nats://u:other@b",
                "nats://u:hunter2@a,nats://hunter2@b",
                "nats://u:%FFhunter2@a",
                "nats://[hunter2",
                "nats://u:hunter2@h\u2100",  # the standard library quotes the host
            )
        ),
        *(
            (check_postgres, text)
            for text in (
                "hunter2",
                "",
                "postgresql:hunter2",
                "mysql://u:hunter2@db/svgx",
                "postgresql://u:hunter2@a@db/svgx",
                "postgresql://u:1/hunter2@db/svgx",
                "postgresql://u:1#hunter2@db/svgx",
                "postgresql://u:1?hunter2@db/svgx",
                "postgresql://u:12?x=hunter2@db/svgx",
                "postgresql://u:12/?x=hunter2@db/svgx",
                "postgresql://db:0/svgx",
                "postgresql://db:99999/svgx",
                "postgresql://db,other:hunter2/svgx",
                "postgresql://db/svgx#hunter2",
                "postgresql://db/svgx?sslmode=hunter2",
                "postgresql://db/svgx?target_session_attrs=hunter2",
                "postgresql://db/svgx?port=hunter2",
                "postgresql://db/svgx?sslrootcert=/hunter2",
                # libpq reads this value as the system's certificates, but asyncpg as the name of a file.
                "postgresql://db/svgx?sslrootcert=system",
                "postgresql://db/svgx?hunter2",
                "postgresql://u:%C3hunter2@db/svgx",
                "postgresql://a..hunter2/svgx",
            )
        ),
        *(
            (check_redis, text)
            for text in (
                "garbage",
                "",
                "redis",
                "redis:hunter2",
                "localhost:6379",
                "http://redis:6379/0",
                "redis://:hunter2@redis:port/0",
                "redis://redis:0/0",
                "redis://redis:70000/0",
                "redis://one:6379,two:6379/0",
                "redis://redis/hunter2",
                "redis://redis/0/hunter2",
                "redis://redis/-1",
                "redis://:1/hunter2@redis/0",
                "redis://:1#hunter2@redis/0",
                "redis://redis/0#hunter2",
                "redis://redis/0?hunter2=1",
                "redis://redis/0?db=hunter2",
                "redis://redis/0?hunter2",
                "redis://redis/0?ssl_cert_reqs=none",
                "rediss://redis/0?ssl_cert_reqs=hunter2",
                "redis://redis/0?protocol=4",
                "unix://",
                "unix://hunter2/path",
                "redis://:%FFhunter2@redis/0",
                "redis://[hunter2/0",
                "redis://a..hunter2/0",
            )
        ),
    ],
)
def test_wrong_url_is_refused_without_quoting_it(check: Callable[[str], str], text: str) -> None:
    """Proves R-CONFIG-2: a wrong URL is refused before a client library reads it, and never quoted."""
    with pytest.raises(ValueError, match=r"must|parameter") as refused:
        check(text)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "redis://localhost:6379/0",
        "redis://localhost",
        "redis:///3",
        "redis://[::1]:6379/",
        "rediss://user@redis:6380/1?ssl_cert_reqs=required&ssl_check_hostname=false",
        "redis://redis?db=2&protocol=3&client_name=svgx",
        "redis://redis?socket_keepalive=true&health_check_interval=5",
        "unix:///run/redis.sock?db=1",
        "unix://user:secret@/run/redis.sock",
        *(f"redis://user:{quote(password, safe='')}@redis:6379/0" for password in PASSWORDS),
    ],
)
async def test_accepted_redis_url_is_read_by_redis_py(text: str) -> None:
    """Proves R-CONFIG-2: redis-py accepts each URL that the check accepts, for pooled and for unpooled connections."""
    assert check_redis(f" {text}\n") == text
    client = redis.connect(text)
    assert client.connection_pool.make_connection() is not None  # type: ignore[no-untyped-call]
    await client.aclose()
    assert redis.unpooled_connection(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "postgres://db/svgx",
        "postgresql://user:p%2Fss@one:5432,two:5432/svgx?sslmode=require",
        "postgresql://one,two/svgx?target_session_attrs=read-write",
        "postgresql:///svgx?host=/run/postgresql&port=5433",
        "postgresql://%2Frun%2Fpostgresql/svgx",
        "postgresql://user@[::1]:5432/svgx?application_name=x&password=p@ss",
        *(f"postgresql://user:{quote(password, safe='')}@db/svgx" for password in PASSWORDS),
    ],
)
async def test_accepted_postgresql_url_is_read_by_asyncpg(text: str) -> None:
    """Proves R-CONFIG-2: asyncpg accepts each URL that the check accepts."""
    assert check_postgres(f" {text}\n") == text
    pool = asyncpg.create_pool(text, min_size=0)
    async with pool:
        assert pool.get_size() == 0
