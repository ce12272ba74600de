"""The configuration as a YAML file, without secrets: its entries, how it is read, and how it is written."""
