from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuthMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUTH_MODE_UNSPECIFIED: _ClassVar[AuthMode]
    AUTH_MODE_OAUTH2: _ClassVar[AuthMode]
    AUTH_MODE_OAUTH2_CC: _ClassVar[AuthMode]
    AUTH_MODE_API_KEY: _ClassVar[AuthMode]
    AUTH_MODE_BASIC: _ClassVar[AuthMode]
    AUTH_MODE_NONE: _ClassVar[AuthMode]
    AUTH_MODE_OAUTH1: _ClassVar[AuthMode]
    AUTH_MODE_APP: _ClassVar[AuthMode]
    AUTH_MODE_CUSTOM: _ClassVar[AuthMode]
    AUTH_MODE_JWT: _ClassVar[AuthMode]
    AUTH_MODE_TBA: _ClassVar[AuthMode]
    AUTH_MODE_TWO_STEP: _ClassVar[AuthMode]
    AUTH_MODE_SIGNATURE: _ClassVar[AuthMode]
    AUTH_MODE_BILL: _ClassVar[AuthMode]
    AUTH_MODE_AWS_SIGV4: _ClassVar[AuthMode]
    AUTH_MODE_INSTALL_PLUGIN: _ClassVar[AuthMode]
    AUTH_MODE_MCP_OAUTH2: _ClassVar[AuthMode]
    AUTH_MODE_MCP_OAUTH2_GENERIC: _ClassVar[AuthMode]

class ProviderSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_SOURCE_UNSPECIFIED: _ClassVar[ProviderSource]
    PROVIDER_SOURCE_CATALOGUE: _ClassVar[ProviderSource]
    PROVIDER_SOURCE_OPERATOR: _ClassVar[ProviderSource]
AUTH_MODE_UNSPECIFIED: AuthMode
AUTH_MODE_OAUTH2: AuthMode
AUTH_MODE_OAUTH2_CC: AuthMode
AUTH_MODE_API_KEY: AuthMode
AUTH_MODE_BASIC: AuthMode
AUTH_MODE_NONE: AuthMode
AUTH_MODE_OAUTH1: AuthMode
AUTH_MODE_APP: AuthMode
AUTH_MODE_CUSTOM: AuthMode
AUTH_MODE_JWT: AuthMode
AUTH_MODE_TBA: AuthMode
AUTH_MODE_TWO_STEP: AuthMode
AUTH_MODE_SIGNATURE: AuthMode
AUTH_MODE_BILL: AuthMode
AUTH_MODE_AWS_SIGV4: AuthMode
AUTH_MODE_INSTALL_PLUGIN: AuthMode
AUTH_MODE_MCP_OAUTH2: AuthMode
AUTH_MODE_MCP_OAUTH2_GENERIC: AuthMode
PROVIDER_SOURCE_UNSPECIFIED: ProviderSource
PROVIDER_SOURCE_CATALOGUE: ProviderSource
PROVIDER_SOURCE_OPERATOR: ProviderSource

class Provider(_message.Message):
    __slots__ = ("provider", "display_name", "auth_mode", "categories", "docs_url", "authorization_url", "token_url", "default_scopes", "connection_config_fields", "source", "credential_fields")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    AUTH_MODE_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    DOCS_URL_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_URL_FIELD_NUMBER: _ClassVar[int]
    TOKEN_URL_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SCOPES_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_CONFIG_FIELDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    provider: str
    display_name: str
    auth_mode: AuthMode
    categories: _containers.RepeatedScalarFieldContainer[str]
    docs_url: str
    authorization_url: str
    token_url: str
    default_scopes: _containers.RepeatedScalarFieldContainer[str]
    connection_config_fields: _containers.RepeatedCompositeFieldContainer[ConnectionConfigField]
    source: ProviderSource
    credential_fields: _containers.RepeatedCompositeFieldContainer[ConnectionConfigField]
    def __init__(self, provider: _Optional[str] = ..., display_name: _Optional[str] = ..., auth_mode: _Optional[_Union[AuthMode, str]] = ..., categories: _Optional[_Iterable[str]] = ..., docs_url: _Optional[str] = ..., authorization_url: _Optional[str] = ..., token_url: _Optional[str] = ..., default_scopes: _Optional[_Iterable[str]] = ..., connection_config_fields: _Optional[_Iterable[_Union[ConnectionConfigField, _Mapping]]] = ..., source: _Optional[_Union[ProviderSource, str]] = ..., credential_fields: _Optional[_Iterable[_Union[ConnectionConfigField, _Mapping]]] = ...) -> None: ...

class ConnectionConfigField(_message.Message):
    __slots__ = ("name", "title", "description", "example", "pattern", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    description: str
    example: str
    pattern: str
    optional: bool
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., description: _Optional[str] = ..., example: _Optional[str] = ..., pattern: _Optional[str] = ..., optional: _Optional[bool] = ...) -> None: ...
