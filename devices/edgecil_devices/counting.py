"""Numbers of things, in words."""


def counted(number: int, noun: str) -> str:
    """`1 picture`, `2 pictures`, `3 new classes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"
