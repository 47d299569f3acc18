"""What the store's verbs say of their arguments, once for both command lines. Imports nothing."""

DEFAULT_STORE = "/var/lib/edgecil"
"""Where a device keeps its store unless told otherwise."""

HELP = {
    "store": "Folder of the store.",
    "install": "A bundle; an update too, once the store has its base.",
    "trust": "File with the public key that must have signed every release of this new store.",
    "update": "An update, or a whole bundle.",
    "from": "Folder or http(s) address that offers releases; the newest is taken.",
    "json": "Print one JSON object.",
}
"""By argument; `install` and `update` are their files."""
