"""Rewrites of the text alone, without a parser: spacing, comments, case, other spellings of the same operator."""

from __future__ import annotations

from collections.abc import Iterator

from common.sandbox.statements import TOKEN

# Words behind which an equals sign assigns, or may.
_ASSIGNING = frozenset({"update", "set", "pragma"})
Tokens = list[tuple[str, str]]


def of_text(sql: str) -> Iterator[tuple[str, str]]:
    """Kind and text of each rewrite of one or more statements; a text without its last semicolon is none."""
    tokens = [(token.lastgroup or "", token.group()) for token in TOKEN.finditer(sql.strip().rstrip("; \n"))]
    words = {text.lower() for kind, text in tokens if kind == "word"}
    # A view's or new table's columns are named by the text of its expressions: their spacing is part of the result.
    has_text_names = "create" in words and "select" in words
    yield "spacing", f"\n{_text(tokens)} ;\n"
    if not has_text_names:
        yield "spacing", "".join("\n  " if kind == "space" else text for kind, text in tokens)
    yield "comment", f"-- the answer\n{_text(tokens)} /* done */"
    yield "case", "".join(_lower(text) if kind == "word" else text for kind, text in tokens)
    if not has_text_names:
        yield "case", "".join(_upper(text) if kind == "word" else text for kind, text in tokens)
        spellings = {"null test": _postfix_null_tests(tokens), "unequal sign": _other_unequal_signs(tokens)}
        if not words & _ASSIGNING:
            spellings["equals sign"] = _double_equals(tokens)
        yield from ((kind, text) for kind, text in spellings.items() if text != _text(tokens))


def _text(tokens: Tokens) -> str:
    return "".join(text for _, text in tokens)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else text  # SQLite folds ASCII and no more


def _upper(text: str) -> str:
    return text.upper() if text.isascii() else text


def _meaningful(tokens: Tokens) -> list[int]:
    return [place for place, (kind, _) in enumerate(tokens) if kind not in ("space", "comment")]


def _postfix_null_tests(tokens: Tokens) -> str:
    """`x IS NOT NULL` as `x NOTNULL`, `x IS NULL` as `x ISNULL`."""
    texts, places = [text for _, text in tokens], _meaningful(tokens)
    words_there = [texts[place].lower() for place in places]
    for i in range(len(places)):
        for words, new in ((["is", "not", "null"], "NOTNULL"), (["is", "null"], "ISNULL")):
            if words_there[i : i + len(words)] == words:
                start, stop = places[i], places[i + len(words) - 1]
                texts[start : stop + 1] = [new, *[""] * (stop - start)]
    return "".join(texts)


def _other_unequal_signs(tokens: Tokens) -> str:
    """`<>` as `!=` and the other way round."""
    texts = [text for _, text in tokens]
    for place in range(len(texts) - 1):
        pair = texts[place] + texts[place + 1]
        if pair in ("<>", "!="):
            texts[place], texts[place + 1] = ("!", "=") if pair == "<>" else ("<", ">")
    return "".join(texts)


def _double_equals(tokens: Tokens) -> str:
    texts = [text for _, text in tokens]
    signs = set("<>!=")
    return "".join(
        "==" if text == "=" and not {*texts[max(place - 1, 0) : place], *texts[place + 1 : place + 2]} & signs else text
        for place, text in enumerate(texts)
    )
