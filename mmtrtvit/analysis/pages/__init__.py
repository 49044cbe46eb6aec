"""Pages of HTML: one file each, that needs no other file, no network and no script."""
