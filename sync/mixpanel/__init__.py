"""Mixpanel's Query API: the client and the parsing of its replies."""
