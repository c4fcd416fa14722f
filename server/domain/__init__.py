"""What a connection is, and the rules about it. Pure: the standard library only, no I/O."""
