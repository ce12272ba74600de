"""The projects, accounts and credentials every sandbox starts with."""

PROJECT = 42
PROJECT_NAME = "Music Finder"
ORGANIZATION = 7

USERNAME = "demo.abc123.mp-service-account"
SECRET = "sandbox-secret"
ANALYST_USERNAME = "analyst.abc123.mp-service-account"
ANALYST_SECRET = "sandbox-analyst"
CUSTOM_USERNAME = "custom.abc123.mp-service-account"
CUSTOM_SECRET = "sandbox-custom"
BLIND_USERNAME = "blind.abc123.mp-service-account"
BLIND_SECRET = "sandbox-blind"

LICENSE = "sandbox1"
API_KEY = "sandbox-api-key"
LICENSE_2 = "~sandbox2"
API_KEY_2 = "sandbox-api-key-2"
