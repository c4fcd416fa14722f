"""HTTP: what is served beside gRPC."""
