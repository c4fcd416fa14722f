"""Each auth mode against a server that checks what it is sent; signatures are verified by libraries that did not make them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import jwt
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from oauthlib import oauth1
from oauthlib.common import Request
from oauthlib.oauth1.rfc5849.signature import verify_hmac_sha1

from server.domain.clock import SystemClock
from server.domain.errors import Reason
from server.domain.model import (
    AppCredentials,
    AuthMode,
    AwsSigV4Credentials,
    BasicCredentials,
    BillCredentials,
    Credentials,
    CustomCredentials,
    JwtCredentials,
    McpOAuth2Credentials,
    OAuth1Credentials,
    OAuth2ClientCredentials,
    OAuth2Credentials,
    SignatureCredentials,
    TbaCredentials,
    TwoStepCredentials,
    expires_at_of,
    token_of,
)
from server.domain.secret import Secret
from server.providers.exchange import ProviderExchange
from server.refresh.ports import ExchangeFailed, ExchangeRequest, FailureKind, NewCredentials
from tests.providers.support import Endpoint, Received, Setup, http, request

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    text: str = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return text


def form(received: Received) -> dict[str, str]:
    return dict(parse_qsl(received.body.decode(), strict_parsing=True))


def ok(fields: Mapping[str, Any]) -> bytes:
    return http(200, json.dumps(fields))


async def renewed(exchange: ProviderExchange, asked: ExchangeRequest) -> NewCredentials:
    """Exchange as the engine does: the answer is what is stored, and only then read."""
    answer = await exchange.send(asked, timeout=5)
    return exchange.interpret(asked, answer, now=SystemClock().now())


async def failure(exchange: ProviderExchange, asked: ExchangeRequest) -> ExchangeFailed:
    with pytest.raises(ExchangeFailed) as caught:
        await renewed(exchange, asked)
    return caught.value


def near(instant: float | None, seconds: float) -> bool:
    return instant is not None and abs(instant - SystemClock().now() - seconds) < 30


# --- OAUTH1, TBA, INSTALL_PLUGIN: nothing is exchanged -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "credentials"),
    [
        (AuthMode.OAUTH1, OAuth1Credentials(Secret("t"), Secret("s"))),
        (AuthMode.TBA, TbaCredentials(Secret("t"), Secret("s"))),
        (AuthMode.INSTALL_PLUGIN, BasicCredentials("u", Secret("p"))),
    ],
)
async def test_fixed_modes_have_nothing_to_exchange(
    setup: Setup, endpoint: Endpoint, mode: AuthMode, credentials: Credentials
) -> None:
    exchange = setup.exchange(mode=mode.value)
    asked = request(credentials, mode=mode)
    assert not exchange.is_refreshable(mode, credentials)
    assert expires_at_of(credentials) is None
    assert (await failure(exchange, asked)).reason is Reason.NOT_REFRESHABLE
    assert endpoint.received == []


def test_callers_can_sign_with_the_oauth1_tokens_that_they_get() -> None:
    """What a read returns is enough for a request that a verifier accepts."""
    held = OAuth1Credentials(Secret("token-1"), Secret("token-secret"))
    client = oauth1.Client(
        "client-1",
        client_secret="consumer-secret",
        resource_owner_key=held.oauth_token.reveal(),
        resource_owner_secret=held.oauth_token_secret.reveal(),
    )
    uri, headers, _ = client.sign("https://api.acme.example/1.1/me")
    given = {name: unquote(value) for name, value in re.findall(r'(oauth_\w+)="([^"]*)"', headers["Authorization"])}
    signed: Any = Request(uri, "GET", "", headers)
    signed.signature = given.pop("oauth_signature")
    signed.params = list(given.items())
    assert given["oauth_token"] == "token-1"
    assert verify_hmac_sha1(signed, "consumer-secret", held.oauth_token_secret.reveal())
    assert not verify_hmac_sha1(signed, "consumer-secret", "another")


# --- OAUTH2_CC: how the client authenticates ----------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (EC_KEY, "ES256")])
async def test_client_assertion(setup: Setup, endpoint: Endpoint, own: bool, key: Any, algorithm: str) -> None:
    exchange = setup.exchange("token_request_auth_method: private_key_jwt\n", mode="OAUTH2_CC")
    endpoint.answer = ok({"access_token": "new", "expires_in": 600})
    held = (
        OAuth2ClientCredentials(client_id="own", client_private_key=Secret(pem(key)))
        if own
        else OAuth2ClientCredentials()
    )
    asked = request(held, mode=AuthMode.OAUTH2_CC, client_secret=pem(key))
    new = await renewed(exchange, asked)
    sent = form(endpoint.last)
    assert sent["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    name = "own" if own else "client-1"
    claims = jwt.decode(
        sent["client_assertion"],
        key.public_key(),
        algorithms=[algorithm],
        audience=endpoint.url,
        issuer=name,
        subject=name,
    )
    assert claims["exp"] - claims["iat"] == 300
    assert claims["jti"]
    assert "client_secret" not in sent
    assert token_of(new.credentials) == Secret("new")
    again = form((await renewed(exchange, asked), endpoint.last)[1])
    assert jwt.decode(again["client_assertion"], options={"verify_signature": False})["jti"] != claims["jti"]


async def test_custom_client_authentication(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange("token_request_auth_method: custom\n", mode="OAUTH2_CC")
    await exchange.send(request(OAuth2ClientCredentials("id", Secret("pw")), mode=AuthMode.OAUTH2_CC), timeout=5)
    assert form(endpoint.last) == {"grant_type": "client_credentials", "username": "id", "password": "pw"}


async def test_a_key_that_is_none_is_told_and_not_shown(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange("token_request_auth_method: private_key_jwt\n", mode="OAUTH2_CC")
    held = OAuth2ClientCredentials("own", client_private_key=Secret("not-a-key-4711"))
    failed = await failure(exchange, request(held, mode=AuthMode.OAUTH2_CC))
    assert failed.kind is FailureKind.CONFIGURATION
    assert "private key" in failed.detail
    assert "4711" not in failed.detail
    assert endpoint.received == []


@pytest.mark.parametrize(("own", "kind"), [(True, FailureKind.PERMANENT), (False, FailureKind.CONFIGURATION)])
async def test_a_connections_own_client_stops_no_other_connection(
    setup: Setup, endpoint: Endpoint, own: bool, kind: FailureKind
) -> None:
    exchange = setup.exchange(mode="OAUTH2_CC")
    endpoint.answer = http(401, '{"error": "invalid_client"}')
    held = OAuth2ClientCredentials("own", Secret("s")) if own else OAuth2ClientCredentials()
    assert (await failure(exchange, request(held, mode=AuthMode.OAUTH2_CC))).kind is kind


# --- APP and CUSTOM -----------------------------------------------------------------------------------------------------

APP = "token_url: http://{host}/app/installations/${{connectionConfig.installation_id}}/access_tokens\n"
CONFIG = "connection_config: {installation_id: {title: Installation}}\n"
INSTALLATION = {"token": "ghs_1", "expires_at": "2100-01-01T00:00:00Z", "permissions": {"metadata": "read"}}


def check_app_jwt(received: Received, issuer: str) -> None:
    assertion = received.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(assertion, RSA_KEY.public_key(), algorithms=["RS256"], issuer=issuer)
    assert jwt.get_unverified_header(assertion)["alg"] == "RS256"
    assert 0 < claims["exp"] - claims["iat"] <= 600


@pytest.mark.parametrize("own", [True, False])
async def test_an_apps_jwt_becomes_an_installations_token(setup: Setup, endpoint: Endpoint, own: bool) -> None:
    exchange = setup.exchange(APP.format(host=endpoint.host) + CONFIG, mode="APP")
    endpoint.answer = http(201, json.dumps({**INSTALLATION, "expires_at": "2027-01-01T00:00:00Z"}))
    held = AppCredentials(app_id="777", private_key=Secret(pem(RSA_KEY))) if own else AppCredentials()
    # A key pasted with its line ends spelled out, as people do.
    secret = pem(RSA_KEY).replace("\n", "\\n")
    asked = request(held, mode=AuthMode.APP, client_id="12345", client_secret=secret, config={"installation_id": 99})
    new = await renewed(exchange, asked)
    assert endpoint.last.line == "POST /app/installations/99/access_tokens HTTP/1.1"
    check_app_jwt(endpoint.last, "777" if own else "12345")
    assert token_of(new.credentials) == Secret("ghs_1")
    assert expires_at_of(new.credentials) == 1798761600.0
    assert new.raw.value["permissions"] == {"metadata": "read"}


async def test_an_installation_that_is_gone_needs_its_user(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(APP.format(host=endpoint.host) + CONFIG, mode="APP")
    endpoint.answer = http(404, '{"message": "Not Found"}')
    asked = request(AppCredentials(), mode=AuthMode.APP, client_secret=pem(RSA_KEY), config={"installation_id": 1})
    failed = await failure(exchange, asked)
    assert (failed.kind, failed.reason) == (FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED)


def custom(setup: Setup, endpoint: Endpoint) -> ProviderExchange:
    urls = f"token_url: {{OAUTH2: 'http://{endpoint.host}/user', APP: 'http://{endpoint.host}/app'}}\n"
    return setup.exchange(urls, mode="CUSTOM")


def custom_request() -> ExchangeRequest:
    app = AppCredentials(app_id="777", private_key=Secret(pem(RSA_KEY)))
    user = OAuth2Credentials(Secret("ghu_old"), Secret("ghr_old"), "bearer", 1.0)
    return request(CustomCredentials(app, user), mode=AuthMode.CUSTOM)


async def test_app_and_user_are_refreshed_together(setup: Setup, endpoint: Endpoint) -> None:
    exchange = custom(setup, endpoint)
    user = {"access_token": "ghu_2", "refresh_token": "ghr_2", "expires_in": 28800, "scope": ""}
    endpoint.answers = [http(201, json.dumps({**INSTALLATION, "expires_at": "2027-01-01T00:00:00Z"})), ok(user)]
    new = await renewed(exchange, custom_request())
    check_app_jwt(endpoint.received[0], "777")
    sent = form(endpoint.received[1])
    assert (sent["grant_type"], sent["refresh_token"], sent["client_id"]) == ("refresh_token", "ghr_old", "client-1")
    held = new.credentials
    assert isinstance(held, CustomCredentials)
    assert held.user is not None
    assert (held.app.access_token, held.user.access_token) == (Secret("ghs_1"), Secret("ghu_2"))
    assert held.user.refresh_token == Secret("ghr_2")
    assert new.rotated
    assert near(expires_at_of(held), 28800)


@pytest.mark.parametrize(
    ("answer", "told", "kept"),
    [
        (http(400, '{"error": "bad_refresh_token"}'), "bad_refresh_token", False),
        (http(503, "down", "text/plain"), "unavailable", True),
    ],
)
async def test_the_users_failure_leaves_the_installation_alone(
    setup: Setup, endpoint: Endpoint, answer: bytes, told: str, kept: bool
) -> None:
    exchange = custom(setup, endpoint)
    endpoint.answers = [http(201, json.dumps({**INSTALLATION, "expires_at": "2027-01-01T00:00:00Z"})), answer]
    held = (await renewed(exchange, custom_request())).credentials
    assert isinstance(held, CustomCredentials)
    assert held.user is not None
    assert held.app.access_token == Secret("ghs_1")
    assert held.user_failure == told
    assert (held.user.refresh_token is not None) == kept
    # The dead user token does not make the connection due at once.
    assert expires_at_of(held) == 1798761600.0


async def test_without_the_installation_the_users_token_is_not_spent(setup: Setup, endpoint: Endpoint) -> None:
    exchange = custom(setup, endpoint)
    endpoint.answer = http(500, "{}")
    assert (await failure(exchange, custom_request())).reason is Reason.PROVIDER_UNAVAILABLE
    assert [received.line.split()[1] for received in endpoint.received] == ["/app"]


# --- JWT and SIGNATURE: signed here -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "key", "verifying", "algorithm"),
    [
        ("RSA", pem(RSA_KEY), RSA_KEY.public_key(), "RS256"),
        ("EC", base64.b64encode(pem(EC_KEY).encode()).decode(), EC_KEY.public_key(), "ES256"),
        ("HMAC", "utf8-secret-that-is-long-enough-for-hs256", b"utf8-secret-that-is-long-enough-for-hs256", "HS256"),
    ],
)
async def test_a_jwt_is_signed_here(
    setup: Setup, endpoint: Endpoint, template: str, key: str, verifying: Any, algorithm: str
) -> None:
    exchange = setup.exchange(
        f"signature: {{protocol: {template}}}\n"
        "token:\n"
        "  signing_key: ${credentials.privateKey}\n"
        "  expires_in_ms: 900000\n"
        f"  header: {{alg: {algorithm}, kid: '${{credentials.keyId}}', typ: JWT}}\n"
        "  payload: {iss: '${credentials.issuer}', aud: appstoreconnect-v1, scope: [GET /v1/apps]}\n"
        "credentials: {privateKey: {secret: true}, keyId: {}, issuer: {}}\n",
        mode="JWT",
    )
    fields = {"privateKey": Secret(key), "keyId": Secret("K1"), "issuer": Secret("I1")}
    asked = request(JwtCredentials(fields), mode=AuthMode.JWT)
    assert exchange.token_host(asked) == "local"
    new = await renewed(exchange, asked)
    assert endpoint.connections == 0
    token = token_of(new.credentials)
    assert token is not None
    claims = jwt.decode(token.reveal(), verifying, algorithms=[algorithm], audience="appstoreconnect-v1", issuer="I1")
    assert claims["exp"] - claims["iat"] == 900
    assert claims["scope"] == ["GET /v1/apps"]
    assert jwt.get_unverified_header(token.reveal()) == {"alg": algorithm, "kid": "K1", "typ": "JWT"}
    assert expires_at_of(new.credentials) == claims["exp"]


async def test_a_key_of_two_parts_with_a_secret_in_hexadecimal(setup: Setup) -> None:
    """As Ghost hands out admin keys: `id:secret`, the secret in hexadecimal digits."""
    exchange = setup.exchange(
        "signature: {protocol: HMAC, hmac_secret_encoding: hex}\n"
        "token:\n"
        "  signing_key: ${credentials.adminKey.secret}\n"
        "  expires_in_ms: 300000\n"
        "  header: {alg: HS256, kid: '${credentials.adminKey.id}'}\n"
        "  payload: {aud: /admin/}\n",
        mode="JWT",
    )
    secret = bytes(range(32))
    asked = request(JwtCredentials({"adminKey": Secret(f"6489:{secret.hex()}")}), mode=AuthMode.JWT)
    token = token_of((await renewed(exchange, asked)).credentials)
    assert token is not None
    assert jwt.decode(token.reveal(), secret, algorithms=["HS256"], audience="/admin/")
    assert jwt.get_unverified_header(token.reveal())["kid"] == "6489"


@pytest.mark.parametrize("digest", ["hex", "raw"])
async def test_a_wsse_header(setup: Setup, digest: str) -> None:
    exchange = setup.exchange(
        f"signature: {{protocol: WSSE, digest: {digest}}}\ntoken: {{expires_in_ms: 60000}}\n", mode="SIGNATURE"
    )
    asked = request(SignatureCredentials("acme", Secret("pass word")), mode=AuthMode.SIGNATURE)
    new = await renewed(exchange, asked)
    token = token_of(new.credentials)
    assert token is not None
    assert token.reveal().startswith("UsernameToken ")
    parts = dict(re.findall(r'(\w+)="([^"]*)"', token.reveal()))
    nonce = base64.b64decode(parts["Nonce"]).decode() if digest == "raw" else parts["Nonce"]
    hashed = hashlib.sha1(f"{nonce}{parts['Created']}pass word".encode())
    expected = hashed.digest() if digest == "raw" else hashed.hexdigest().encode()
    assert base64.b64decode(parts["PasswordDigest"]) == expected
    assert parts["Username"] == "acme"
    assert near(expires_at_of(new.credentials), 60)
    assert token_of((await renewed(exchange, asked)).credentials) != token


# --- TWO_STEP -----------------------------------------------------------------------------------------------------------


def two_step(fields: Mapping[str, str], **held: Any) -> ExchangeRequest:
    given = {name: Secret(value) for name, value in fields.items()}
    return request(TwoStepCredentials(given, **held), mode=AuthMode.TWO_STEP)


async def test_a_login_in_three_steps_that_use_each_other(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: http://{endpoint.host}/login\n"
        "body_format: json\n"
        "token_params: {user: {name: '${credentials.username}', age: 7}, keep: true}\n"
        "token_headers: {Authorization: 'Basic ${base64(${credentials.username}:${credentials.password})}'}\n"
        "additional_steps:\n"
        f"  - token_url: http://{endpoint.host}/accounts/${{step1.data.account.id}}\n"
        "    token_request_method: GET\n"
        "    token_params: {session: '${step1.session}'}\n"
        f"  - token_url: http://{endpoint.host}/token\n"
        "    body_format: form\n"
        "    token_params: {code: '${step2.items.0.code}', session: '${step1.session}'}\n"
        "token_response: {token: result.token, token_expiration: result.until, token_expiration_strategy: expireAt}\n",
        mode="TWO_STEP",
    )
    endpoint.answers = [
        ok({"session": "s/1", "data": {"account": {"id": 42}}}),
        ok({"items": [{"code": "c-9"}]}),
        ok({"result": {"token": "final", "until": "2027-01-01T00:00:00Z"}}),
    ]
    new = await renewed(exchange, two_step({"username": "u", "password": "p"}))
    first, second, third = endpoint.received
    assert json.loads(first.body) == {"user": {"name": "u", "age": 7}, "keep": True}
    assert first.headers["authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert second.line == "GET /accounts/42?session=s%2F1 HTTP/1.1"
    assert form(third) == {"code": "c-9", "session": "s/1"}
    assert token_of(new.credentials) == Secret("final")
    assert expires_at_of(new.credentials) == 1798761600.0


async def test_xml_there_and_back(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: {endpoint.url}\n"
        "body_format: xml\n"
        "token_params: {request: {'@version': '1.0', user: '${credentials.user}', items: {item: [a, b]}}}\n"
        "token_response: {token: response.session.key, token_expiration: response.session.ttl, "
        "token_expiration_strategy: expireIn}\n",
        mode="TWO_STEP",
    )
    body = '<n:response xmlns:n="urn:x"><session a="1"><key>k-1</key><ttl>0:02:30</ttl></session></n:response>'
    endpoint.answer = http(200, body, "text/xml; charset=utf-8")
    new = await renewed(exchange, two_step({"user": '<&>"'}))
    assert endpoint.last.headers["content-type"] == "application/xml"
    assert endpoint.last.body.decode().endswith(
        '<request version="1.0"><user>&lt;&amp;&gt;"</user><items><item>a</item><item>b</item></items></request>'
    )
    assert token_of(new.credentials) == Secret("k-1")
    assert near(expires_at_of(new.credentials), 2 * 3600 + 30 * 60)


async def test_an_xml_bomb_is_no_token(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(f"token_url: {endpoint.url}\ntoken_response: {{token: a.b}}\n", mode="TWO_STEP")
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxx"><!ENTITY y "&x;&x;&x;">]><a><b>&y;</b></a>'
    endpoint.answer = http(200, bomb, "application/xml")
    assert (await failure(exchange, two_step({}))).reason is Reason.PROVIDER_RESPONSE_INVALID


async def test_tokens_in_headers_and_cookies(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: {endpoint.url}\n"
        "token_response_headers: [X-Auth-Token, cookie.sid]\n"
        "token_response: {token: x-auth-token, refresh_token: 'cookie.sid'}\n",
        mode="TWO_STEP",
    )
    endpoint.answer = http(200, "", X_Auth_Token="in-a-header", Set_Cookie="sid=in-a-cookie; Path=/", X_Other="no")
    new = await renewed(exchange, two_step({}))
    assert token_of(new.credentials) == Secret("in-a-header")
    assert new.raw.value == {"x-auth-token": "in-a-header", "cookie.sid": "in-a-cookie"}


async def test_a_refresh_first_and_a_login_if_it_is_refused(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: http://{endpoint.host}/login\nrefresh_url: http://{endpoint.host}/refresh\n"
        "refresh_token_params: {renew: '${refreshToken}'}\n"
        "token_response: {token: t, refresh_token: r}\ntoken_expires_in_ms: 120000\n",
        mode="TWO_STEP",
    )
    asked = two_step({}, token=Secret("old"), refresh_token=Secret("r-1"))
    endpoint.answers = [ok({"t": "t-2", "r": "r-2"})]
    new = await renewed(exchange, asked)
    assert (endpoint.last.line, form(endpoint.last)) == ("POST /refresh HTTP/1.1", {"renew": "r-1"})
    assert isinstance(new.credentials, TwoStepCredentials)
    assert (new.credentials.token, new.credentials.refresh_token) == (Secret("t-2"), Secret("r-2"))
    assert near(new.credentials.expires_at, 120)
    endpoint.answers = [http(401, "{}"), ok({"t": "t-3", "r": "r-3"})]
    assert token_of((await renewed(exchange, asked)).credentials) == Secret("t-3")
    assert [received.line.split()[1] for received in endpoint.received] == ["/refresh", "/refresh", "/login"]


async def test_a_login_may_present_an_assertion(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: {endpoint.url}\n"
        "signature: {protocol: RSA}\n"
        "token: {signing_key: '${credentials.key}', expires_in_ms: 60000, payload: {iss: '${credentials.email}'}}\n"
        "token_params: {grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: '${assertion}'}\n"
        "token_response: {token: access_token, token_expiration: expires_in}\n",
        mode="TWO_STEP",
    )
    endpoint.answer = ok({"access_token": "x", "expires_in": 3600})
    new = await renewed(exchange, two_step({"key": pem(RSA_KEY), "email": "svc@acme.example"}))
    assert jwt.decode(
        form(endpoint.last)["assertion"], RSA_KEY.public_key(), algorithms=["RS256"], issuer="svc@acme.example"
    )
    assert near(expires_at_of(new.credentials), 3600)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_login_concerns_one_connection(setup: Setup, endpoint: Endpoint, status: int) -> None:
    exchange = setup.exchange(f"token_url: {endpoint.url}\n", mode="TWO_STEP")
    endpoint.answer = http(status, '{"message": "who are you"}')
    failed = await failure(exchange, two_step({}))
    assert (failed.kind, failed.reason) == (FailureKind.PERMANENT, Reason.REAUTHORIZATION_REQUIRED)


async def test_a_missing_value_names_itself_and_nothing_is_sent(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(
        f"token_url: {endpoint.url}\ntoken_params: {{a: '${{credentials.user || credentials.email}}'}}\n",
        mode="TWO_STEP",
    )
    failed = await failure(exchange, two_step({"other": "x"}))
    assert failed.kind is FailureKind.CONFIGURATION
    assert "credentials.user is missing" in failed.detail
    assert endpoint.received == []
    await exchange.send(two_step({"email": "e"}), timeout=5)
    assert form(endpoint.last) == {"a": "e"}


# --- BILL, AWS_SIGV4 ----------------------------------------------------------------------------------------------------


async def test_a_bill_session(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(f"token_url: {endpoint.url}\n", mode="BILL")
    endpoint.answer = ok({"sessionId": "s-1", "userId": "u-1", "organizationId": "o-1", "trusted": False})
    held = BillCredentials("a@b.example", Secret("pw"), Secret("dev"), "o-1")
    new = (await renewed(exchange, request(held, mode=AuthMode.BILL))).credentials
    assert json.loads(endpoint.last.body) == {
        "username": "a@b.example", "password": "pw", "organizationId": "o-1", "devKey": "dev",
    }  # fmt: skip
    assert isinstance(new, BillCredentials)
    assert (new.session_id, new.user_id) == (Secret("s-1"), "u-1")
    assert near(new.expires_at, 35 * 60)


ROLE = AwsSigV4Credentials("arn:aws:iam::123456789012:role/acme", "eu-central-1", external_id="x/1")


async def test_assume_role_is_signed_as_botocore_signs_it(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(f"token_url: http://{endpoint.host}/\n", mode="AWS_SIGV4")
    await exchange.send(request(ROLE, mode=AuthMode.AWS_SIGV4, client_id="AKID", client_secret="SK/1"), timeout=5)
    got = endpoint.last
    assert form(got) == {
        "Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE.role_arn, "RoleSessionName": "connections",
        "DurationSeconds": "3600", "ExternalId": "x/1",
    }  # fmt: skip
    authorization = got.headers["authorization"]
    names = re.search(r"SignedHeaders=([^,]+)", authorization)
    assert names is not None
    assert {"host", "x-amz-date", "content-type"} <= set(names[1].split(";"))
    theirs = AWSRequest("POST", f"http://{endpoint.host}/", data=got.body)
    for name in names[1].split(";"):
        theirs.headers[name] = got.headers[name]
    theirs.context["timestamp"] = got.headers["x-amz-date"]
    signer = SigV4Auth(BotoCredentials("AKID", "SK/1"), "sts", "eu-central-1")
    signature = signer.signature(signer.string_to_sign(theirs, signer.canonical_request(theirs)), theirs)
    assert authorization.endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AccessDenied", FailureKind.PERMANENT), ("SignatureDoesNotMatch", FailureKind.CONFIGURATION)],
)
async def test_what_sts_refuses(setup: Setup, endpoint: Endpoint, code: str, kind: FailureKind) -> None:
    exchange = setup.exchange(f"token_url: http://{endpoint.host}/\n", mode="AWS_SIGV4")
    endpoint.answer = http(
        403, f"<ErrorResponse xmlns='urn:x'><Error><Code>{code}</Code></Error></ErrorResponse>", "text/xml"
    )
    assert (await failure(exchange, request(ROLE, mode=AuthMode.AWS_SIGV4))).kind is kind


# --- MCP ----------------------------------------------------------------------------------------------------------------


def mcp(**given: Any) -> ExchangeRequest:
    held = McpOAuth2Credentials(Secret("old"), Secret("rt"), resource="https://mcp.acme.example/mcp", **given)
    return request(held, mode=AuthMode.MCP_OAUTH2_GENERIC)


async def test_an_mcp_refresh_names_its_resource(setup: Setup, endpoint: Endpoint) -> None:
    exchange = setup.exchange(mode="MCP_OAUTH2_GENERIC")
    endpoint.answer = ok({"access_token": "new", "expires_in": 60})
    asked = mcp(client_id="dyn-1", token_endpoint=endpoint.url)
    assert exchange.token_host(asked) == endpoint.host
    new = (await renewed(exchange, asked)).credentials
    assert form(endpoint.last) == {
        "grant_type": "refresh_token", "refresh_token": "rt", "resource": "https://mcp.acme.example/mcp",
        "client_id": "dyn-1",
    }  # fmt: skip
    assert isinstance(new, McpOAuth2Credentials)
    assert (new.refresh_token, new.client_id, new.token_endpoint) == (Secret("rt"), "dyn-1", endpoint.url)


async def test_an_endpoint_that_an_import_names_never_gets_the_integrations_secret(
    setup: Setup, endpoint: Endpoint
) -> None:
    exchange = setup.exchange(mode="MCP_OAUTH2_GENERIC")
    await exchange.send(mcp(token_endpoint=endpoint.url), timeout=5)
    assert "client_secret" not in parse_qs(endpoint.last.body.decode())
    assert urlsplit(endpoint.url).path == "/token"


@pytest.mark.parametrize("url", ["ftp://a.example/", "${credentials.refresh_token}", "http://169.254.169.254/x"])
async def test_an_endpoint_that_is_none_is_refused(setup: Setup, endpoint: Endpoint, url: str) -> None:
    exchange = setup.exchange(mode="MCP_OAUTH2_GENERIC")
    assert (await failure(exchange, mcp(token_endpoint=url))).kind is FailureKind.CONFIGURATION
    assert endpoint.received == []
