import datetime

from connections.v1 import error_reason_pb2 as _error_reason_pb2
from connections.v1 import provider_pb2 as _provider_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONNECTION_STATUS_UNSPECIFIED: _ClassVar[ConnectionStatus]
    CONNECTION_STATUS_ACTIVE: _ClassVar[ConnectionStatus]
    CONNECTION_STATUS_REFRESH_FAILING: _ClassVar[ConnectionStatus]
    CONNECTION_STATUS_REAUTHORIZATION_REQUIRED: _ClassVar[ConnectionStatus]
CONNECTION_STATUS_UNSPECIFIED: ConnectionStatus
CONNECTION_STATUS_ACTIVE: ConnectionStatus
CONNECTION_STATUS_REFRESH_FAILING: ConnectionStatus
CONNECTION_STATUS_REAUTHORIZATION_REQUIRED: ConnectionStatus

class Connection(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "uid", "provider", "auth_mode", "status", "status_reason", "credentials", "granted_scopes", "connection_config", "metadata", "tags", "display_name", "create_time", "update_time", "credentials_expire_time", "last_refresh_time", "last_refresh_failure_time", "next_refresh_time", "refresh_attempts", "generation", "etag")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    AUTH_MODE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STATUS_REASON_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_SCOPES_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_REFRESH_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_REFRESH_FAILURE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_REFRESH_TIME_FIELD_NUMBER: _ClassVar[int]
    REFRESH_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    uid: str
    provider: str
    auth_mode: _provider_pb2.AuthMode
    status: ConnectionStatus
    status_reason: _error_reason_pb2.ErrorReason
    credentials: Credentials
    granted_scopes: _containers.RepeatedScalarFieldContainer[str]
    connection_config: _struct_pb2.Struct
    metadata: _struct_pb2.Struct
    tags: _containers.ScalarMap[str, str]
    display_name: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    credentials_expire_time: _timestamp_pb2.Timestamp
    last_refresh_time: _timestamp_pb2.Timestamp
    last_refresh_failure_time: _timestamp_pb2.Timestamp
    next_refresh_time: _timestamp_pb2.Timestamp
    refresh_attempts: int
    generation: int
    etag: str
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., uid: _Optional[str] = ..., provider: _Optional[str] = ..., auth_mode: _Optional[_Union[_provider_pb2.AuthMode, str]] = ..., status: _Optional[_Union[ConnectionStatus, str]] = ..., status_reason: _Optional[_Union[_error_reason_pb2.ErrorReason, str]] = ..., credentials: _Optional[_Union[Credentials, _Mapping]] = ..., granted_scopes: _Optional[_Iterable[str]] = ..., connection_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tags: _Optional[_Mapping[str, str]] = ..., display_name: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credentials_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_refresh_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_refresh_failure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_refresh_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refresh_attempts: _Optional[int] = ..., generation: _Optional[int] = ..., etag: _Optional[str] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("oauth2", "oauth2_cc", "api_key", "basic", "oauth1", "app", "custom", "jwt", "tba", "two_step", "signature", "bill", "aws_sigv4", "mcp_oauth2", "raw")
    OAUTH2_FIELD_NUMBER: _ClassVar[int]
    OAUTH2_CC_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    BASIC_FIELD_NUMBER: _ClassVar[int]
    OAUTH1_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    JWT_FIELD_NUMBER: _ClassVar[int]
    TBA_FIELD_NUMBER: _ClassVar[int]
    TWO_STEP_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    BILL_FIELD_NUMBER: _ClassVar[int]
    AWS_SIGV4_FIELD_NUMBER: _ClassVar[int]
    MCP_OAUTH2_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    oauth2: OAuth2Credentials
    oauth2_cc: OAuth2ClientCredentials
    api_key: ApiKeyCredentials
    basic: BasicCredentials
    oauth1: OAuth1Credentials
    app: AppCredentials
    custom: CustomCredentials
    jwt: JwtCredentials
    tba: TbaCredentials
    two_step: TwoStepCredentials
    signature: SignatureCredentials
    bill: BillCredentials
    aws_sigv4: AwsSigV4Credentials
    mcp_oauth2: McpOAuth2Credentials
    raw: _struct_pb2.Struct
    def __init__(self, oauth2: _Optional[_Union[OAuth2Credentials, _Mapping]] = ..., oauth2_cc: _Optional[_Union[OAuth2ClientCredentials, _Mapping]] = ..., api_key: _Optional[_Union[ApiKeyCredentials, _Mapping]] = ..., basic: _Optional[_Union[BasicCredentials, _Mapping]] = ..., oauth1: _Optional[_Union[OAuth1Credentials, _Mapping]] = ..., app: _Optional[_Union[AppCredentials, _Mapping]] = ..., custom: _Optional[_Union[CustomCredentials, _Mapping]] = ..., jwt: _Optional[_Union[JwtCredentials, _Mapping]] = ..., tba: _Optional[_Union[TbaCredentials, _Mapping]] = ..., two_step: _Optional[_Union[TwoStepCredentials, _Mapping]] = ..., signature: _Optional[_Union[SignatureCredentials, _Mapping]] = ..., bill: _Optional[_Union[BillCredentials, _Mapping]] = ..., aws_sigv4: _Optional[_Union[AwsSigV4Credentials, _Mapping]] = ..., mcp_oauth2: _Optional[_Union[McpOAuth2Credentials, _Mapping]] = ..., raw: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class OAuth2Credentials(_message.Message):
    __slots__ = ("access_token", "refresh_token", "token_type", "expire_time", "scopes")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    refresh_token: str
    token_type: str
    expire_time: _timestamp_pb2.Timestamp
    scopes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, access_token: _Optional[str] = ..., refresh_token: _Optional[str] = ..., token_type: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scopes: _Optional[_Iterable[str]] = ...) -> None: ...

class OAuth2ClientCredentials(_message.Message):
    __slots__ = ("client_id", "client_secret", "access_token", "token_type", "expire_time", "scopes", "client_certificate", "client_private_key")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    client_secret: str
    access_token: str
    token_type: str
    expire_time: _timestamp_pb2.Timestamp
    scopes: _containers.RepeatedScalarFieldContainer[str]
    client_certificate: str
    client_private_key: str
    def __init__(self, client_id: _Optional[str] = ..., client_secret: _Optional[str] = ..., access_token: _Optional[str] = ..., token_type: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scopes: _Optional[_Iterable[str]] = ..., client_certificate: _Optional[str] = ..., client_private_key: _Optional[str] = ...) -> None: ...

class ApiKeyCredentials(_message.Message):
    __slots__ = ("api_key",)
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    api_key: str
    def __init__(self, api_key: _Optional[str] = ...) -> None: ...

class BasicCredentials(_message.Message):
    __slots__ = ("username", "password")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ...) -> None: ...

class OAuth1Credentials(_message.Message):
    __slots__ = ("oauth_token", "oauth_token_secret")
    OAUTH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OAUTH_TOKEN_SECRET_FIELD_NUMBER: _ClassVar[int]
    oauth_token: str
    oauth_token_secret: str
    def __init__(self, oauth_token: _Optional[str] = ..., oauth_token_secret: _Optional[str] = ...) -> None: ...

class AppCredentials(_message.Message):
    __slots__ = ("access_token", "expire_time", "app_id", "private_key")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    expire_time: _timestamp_pb2.Timestamp
    app_id: str
    private_key: str
    def __init__(self, access_token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., app_id: _Optional[str] = ..., private_key: _Optional[str] = ...) -> None: ...

class CustomCredentials(_message.Message):
    __slots__ = ("app", "user", "user_failure")
    APP_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    USER_FAILURE_FIELD_NUMBER: _ClassVar[int]
    app: AppCredentials
    user: OAuth2Credentials
    user_failure: str
    def __init__(self, app: _Optional[_Union[AppCredentials, _Mapping]] = ..., user: _Optional[_Union[OAuth2Credentials, _Mapping]] = ..., user_failure: _Optional[str] = ...) -> None: ...

class JwtCredentials(_message.Message):
    __slots__ = ("fields", "token", "expire_time")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.ScalarMap[str, str]
    token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, fields: _Optional[_Mapping[str, str]] = ..., token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TbaCredentials(_message.Message):
    __slots__ = ("token_id", "token_secret")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_SECRET_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    token_secret: str
    def __init__(self, token_id: _Optional[str] = ..., token_secret: _Optional[str] = ...) -> None: ...

class TwoStepCredentials(_message.Message):
    __slots__ = ("fields", "token", "refresh_token", "expire_time")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    fields: _containers.ScalarMap[str, str]
    token: str
    refresh_token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, fields: _Optional[_Mapping[str, str]] = ..., token: _Optional[str] = ..., refresh_token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SignatureCredentials(_message.Message):
    __slots__ = ("username", "password", "token", "expire_time")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BillCredentials(_message.Message):
    __slots__ = ("username", "password", "dev_key", "organization_id", "session_id", "user_id", "expire_time")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    DEV_KEY_FIELD_NUMBER: _ClassVar[int]
    ORGANIZATION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    dev_key: str
    organization_id: str
    session_id: str
    user_id: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., dev_key: _Optional[str] = ..., organization_id: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AwsSigV4Credentials(_message.Message):
    __slots__ = ("role_arn", "external_id", "region", "service", "access_key_id", "secret_access_key", "session_token", "expire_time")
    ROLE_ARN_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ACCESS_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_ACCESS_KEY_FIELD_NUMBER: _ClassVar[int]
    SESSION_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    role_arn: str
    external_id: str
    region: str
    service: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, role_arn: _Optional[str] = ..., external_id: _Optional[str] = ..., region: _Optional[str] = ..., service: _Optional[str] = ..., access_key_id: _Optional[str] = ..., secret_access_key: _Optional[str] = ..., session_token: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class McpOAuth2Credentials(_message.Message):
    __slots__ = ("access_token", "refresh_token", "token_type", "expire_time", "scopes", "client_id", "client_secret", "resource", "token_endpoint")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_TYPE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    refresh_token: str
    token_type: str
    expire_time: _timestamp_pb2.Timestamp
    scopes: _containers.RepeatedScalarFieldContainer[str]
    client_id: str
    client_secret: str
    resource: str
    token_endpoint: str
    def __init__(self, access_token: _Optional[str] = ..., refresh_token: _Optional[str] = ..., token_type: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scopes: _Optional[_Iterable[str]] = ..., client_id: _Optional[str] = ..., client_secret: _Optional[str] = ..., resource: _Optional[str] = ..., token_endpoint: _Optional[str] = ...) -> None: ...
