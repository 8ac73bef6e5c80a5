"""Small models of timm, one of each family."""

SMALL: tuple[str, ...] = ()
