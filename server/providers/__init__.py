"""How each provider speaks: templates, one module per auth mode, guarded outbound HTTP."""
