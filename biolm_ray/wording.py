"""Numbers as sentences for people say them."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 row", "2,000 rows".

    Args:
        number: How many.
        one: The noun, and whatever of the sentence changes with it, for a single thing.
        many: For any other number; with an `s` at the end where it is not given.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def all_of(number: int, noun: str) -> str:
    """Return all things of a kind: "the model", "both models", "all 3 models"."""
    return {1: f"the {noun}", 2: f"both {noun}s"}.get(number, f"all {number:,} {noun}s")


def part_of(number: int, whole: int, noun: str, verbs: tuple[str, str] = ("is", "are")) -> str:
    """Return how many of all, with a verb: "1 of 200 rows is", "3 of 200 rows are".

    Args:
        number: How many.
        whole: Of how many.
        noun: For a single thing; its plural ends in `s`.
        verbs: For one, and for any other number.
    """
    return f"{number:,} of {counted(whole, noun)} {verbs[number != 1]}"
