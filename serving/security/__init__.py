"""Who may ask, and over what: keys, admins, TLS; replaced without a restart."""
