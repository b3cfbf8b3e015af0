"""Signing in by an OpenID provider: code flow with PKCE (A7-A9)."""
