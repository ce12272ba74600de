"""Parts that several pages share, and the dialogs of single pages."""
