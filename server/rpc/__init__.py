"""gRPC: one servicer per service, one interceptor, one place that maps errors."""
