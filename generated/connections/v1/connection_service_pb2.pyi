import datetime

from connections.v1 import connection_pb2 as _connection_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConnectionView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONNECTION_VIEW_UNSPECIFIED: _ClassVar[ConnectionView]
    CONNECTION_VIEW_BASIC: _ClassVar[ConnectionView]
    CONNECTION_VIEW_FULL: _ClassVar[ConnectionView]

class RevocationOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOCATION_OUTCOME_UNSPECIFIED: _ClassVar[RevocationOutcome]
    REVOCATION_OUTCOME_NOT_REQUESTED: _ClassVar[RevocationOutcome]
    REVOCATION_OUTCOME_REVOKED: _ClassVar[RevocationOutcome]
    REVOCATION_OUTCOME_NOT_SUPPORTED: _ClassVar[RevocationOutcome]
    REVOCATION_OUTCOME_FAILED: _ClassVar[RevocationOutcome]

class RefreshOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFRESH_OUTCOME_UNSPECIFIED: _ClassVar[RefreshOutcome]
    REFRESH_OUTCOME_REFRESHED: _ClassVar[RefreshOutcome]
    REFRESH_OUTCOME_SHARED: _ClassVar[RefreshOutcome]
CONNECTION_VIEW_UNSPECIFIED: ConnectionView
CONNECTION_VIEW_BASIC: ConnectionView
CONNECTION_VIEW_FULL: ConnectionView
REVOCATION_OUTCOME_UNSPECIFIED: RevocationOutcome
REVOCATION_OUTCOME_NOT_REQUESTED: RevocationOutcome
REVOCATION_OUTCOME_REVOKED: RevocationOutcome
REVOCATION_OUTCOME_NOT_SUPPORTED: RevocationOutcome
REVOCATION_OUTCOME_FAILED: RevocationOutcome
REFRESH_OUTCOME_UNSPECIFIED: RefreshOutcome
REFRESH_OUTCOME_REFRESHED: RefreshOutcome
REFRESH_OUTCOME_SHARED: RefreshOutcome

class GetConnectionRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "view", "min_ttl", "include_refresh_token")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MIN_TTL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    view: ConnectionView
    min_ttl: _duration_pb2.Duration
    include_refresh_token: bool
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., view: _Optional[_Union[ConnectionView, str]] = ..., min_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., include_refresh_token: _Optional[bool] = ...) -> None: ...

class GetConnectionResponse(_message.Message):
    __slots__ = ("connection",)
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ...) -> None: ...

class ConnectionKey(_message.Message):
    __slots__ = ("provider_config_key", "connection_id")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ...) -> None: ...

class BatchGetConnectionsRequest(_message.Message):
    __slots__ = ("keys", "view", "min_ttl", "include_refresh_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    MIN_TTL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[ConnectionKey]
    view: ConnectionView
    min_ttl: _duration_pb2.Duration
    include_refresh_token: bool
    def __init__(self, keys: _Optional[_Iterable[_Union[ConnectionKey, _Mapping]]] = ..., view: _Optional[_Union[ConnectionView, str]] = ..., min_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., include_refresh_token: _Optional[bool] = ...) -> None: ...

class BatchGetConnectionsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchGetConnectionsResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchGetConnectionsResult, _Mapping]]] = ...) -> None: ...

class BatchGetConnectionsResult(_message.Message):
    __slots__ = ("key", "connection", "status")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    key: ConnectionKey
    connection: _connection_pb2.Connection
    status: _status_pb2.Status
    def __init__(self, key: _Optional[_Union[ConnectionKey, _Mapping]] = ..., connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ListConnectionsRequest(_message.Message):
    __slots__ = ("connection_id", "provider_config_keys", "tags", "search", "statuses", "page_size", "page_token", "limit")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_CONFIG_KEYS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    connection_id: str
    provider_config_keys: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.ScalarMap[str, str]
    search: str
    statuses: _containers.RepeatedScalarFieldContainer[_connection_pb2.ConnectionStatus]
    page_size: int
    page_token: str
    limit: int
    def __init__(self, connection_id: _Optional[str] = ..., provider_config_keys: _Optional[_Iterable[str]] = ..., tags: _Optional[_Mapping[str, str]] = ..., search: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[_connection_pb2.ConnectionStatus, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListConnectionsResponse(_message.Message):
    __slots__ = ("connections", "next_page_token")
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    connections: _containers.RepeatedCompositeFieldContainer[_connection_pb2.Connection]
    next_page_token: str
    def __init__(self, connections: _Optional[_Iterable[_Union[_connection_pb2.Connection, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CreateConnectionRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "credentials", "connection_config", "metadata", "tags", "display_name", "etag", "create_time")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    credentials: _connection_pb2.Credentials
    connection_config: _struct_pb2.Struct
    metadata: _struct_pb2.Struct
    tags: Tags
    display_name: str
    etag: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., credentials: _Optional[_Union[_connection_pb2.Credentials, _Mapping]] = ..., connection_config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tags: _Optional[_Union[Tags, _Mapping]] = ..., display_name: _Optional[str] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Tags(_message.Message):
    __slots__ = ("tags",)
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.ScalarMap[str, str]
    def __init__(self, tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateConnectionResponse(_message.Message):
    __slots__ = ("connection", "created")
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    created: bool
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class UpdateConnectionRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "connection", "update_mask", "etag")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    connection: _connection_pb2.Connection
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class UpdateConnectionResponse(_message.Message):
    __slots__ = ("connection",)
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ...) -> None: ...

class DeleteConnectionRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "etag", "revoke")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    etag: str
    revoke: bool
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., etag: _Optional[str] = ..., revoke: _Optional[bool] = ...) -> None: ...

class DeleteConnectionResponse(_message.Message):
    __slots__ = ("revocation",)
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    revocation: RevocationOutcome
    def __init__(self, revocation: _Optional[_Union[RevocationOutcome, str]] = ...) -> None: ...

class SetMetadataRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "metadata", "etag")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    metadata: _struct_pb2.Struct
    etag: str
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class SetMetadataResponse(_message.Message):
    __slots__ = ("connection",)
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ...) -> None: ...

class UpdateMetadataRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "metadata", "etag")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    metadata: _struct_pb2.Struct
    etag: str
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class UpdateMetadataResponse(_message.Message):
    __slots__ = ("connection",)
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ...) -> None: ...

class UpdateTagsRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "tags", "etag")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    tags: _containers.ScalarMap[str, str]
    etag: str
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., etag: _Optional[str] = ...) -> None: ...

class UpdateTagsResponse(_message.Message):
    __slots__ = ("connection",)
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ...) -> None: ...

class ForceRefreshRequest(_message.Message):
    __slots__ = ("provider_config_key", "connection_id", "view", "etag", "include_refresh_token")
    PROVIDER_CONFIG_KEY_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider_config_key: str
    connection_id: str
    view: ConnectionView
    etag: str
    include_refresh_token: bool
    def __init__(self, provider_config_key: _Optional[str] = ..., connection_id: _Optional[str] = ..., view: _Optional[_Union[ConnectionView, str]] = ..., etag: _Optional[str] = ..., include_refresh_token: _Optional[bool] = ...) -> None: ...

class ForceRefreshResponse(_message.Message):
    __slots__ = ("connection", "outcome", "previous_generation", "credentials_expire_time")
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_GENERATION_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    connection: _connection_pb2.Connection
    outcome: RefreshOutcome
    previous_generation: int
    credentials_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, connection: _Optional[_Union[_connection_pb2.Connection, _Mapping]] = ..., outcome: _Optional[_Union[RefreshOutcome, str]] = ..., previous_generation: _Optional[int] = ..., credentials_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
