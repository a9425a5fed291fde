"""Macros that keep the digits of JSON numbers.

The engine's JSON parser makes a double of a number with a fraction or an exponent, and its writer another text of that:
`1.10` becomes `1.1`. So `ferris_json_marked` turns such numbers into strings, `"␡n1.10␡e"`, with the control character
DEL as the mark, before the parser sees them; a mark that the text has itself becomes `␡s`. `ferris_json_unmarked` takes
the marks from what comes of it.

`ferris_json_text` and `ferris_json_value` are what the operators `->>` and `->` become. Where the value that they find
may be such a number, or hold one, it is found again in the marked text; not where the member stands in the text exactly
as the engine writes it, which costs a quarter of that.
"""

from __future__ import annotations

from sqlglot import exp

MARK = "\x7f"
BEGIN, END, ITSELF = f"{MARK}n", f"{MARK}e", f"{MARK}s"
_GROUP_BEGIN, _GROUP_END = f"{MARK}0", f"{MARK}1"

#: A number that is not whole as it stands, or one of the numbers that are none (`NaN`, `-Infinity`).
NUMBER = r"-?(?:[0-9]+[.eE][0-9.eE+-]*|[nN][aA][nN]|[iI][nN][fF][a-zA-Z]*)"
_STRING = r'"(?:[^"\\]|\\.)*"'

# Strings are matched too, to be passed over: behind them two marks stand with nothing between.
_MARKED = f"""(j) AS
    replace(replace(replace(
      regexp_replace(replace(CAST(j AS VARCHAR), '{MARK}', '{ITSELF}'),
        '({_STRING})|({NUMBER})', '\\1{_GROUP_BEGIN}\\2{_GROUP_END}', 'g'),
      '{_GROUP_BEGIN}{_GROUP_END}', ''), '{_GROUP_BEGIN}', '"{BEGIN}'), '{_GROUP_END}', '{END}"')"""

_UNMARKED = f"""(t) AS
    CASE WHEN contains(t, '{MARK}')
         THEN replace(replace(replace(replace(replace(t, '"{BEGIN}', ''), '{END}"', ''),
                '{BEGIN}', ''), '{END}', ''), '{ITSELF}', '{MARK}')
         ELSE CAST(t AS VARCHAR) END"""

# The one member of this name, as the engine writes its value.
_STANDS = """(j, key, written) AS
    contains(j, key)
    AND (contains(j, concat(key, written, ',')) OR contains(j, concat(key, written, '}')))
    AND strlen(replace(j, key, '')) + strlen(key) = strlen(j)"""

_KEY = r"""(path) AS
    CASE WHEN regexp_full_match(CAST(path AS VARCHAR), '(\$\.)?[A-Za-z0-9_]+')
         THEN concat('"', replace(CAST(path AS VARCHAR), '$.', ''), '":') END"""

_MAY_BE_NUMBER = """(t) AS
    (t < ':' OR t >= '[') AND contains(t, '.')
    AND (TRY_CAST(t AS DOUBLE) IS NOT NULL OR starts_with(t, '{') OR starts_with(t, '['))"""

_TEXT = """(j, path) AS
    CASE WHEN contains(CAST(j AS VARCHAR), '.')
         THEN list_transform([system.main.json_extract_string(j, path)], lambda found:
                CASE WHEN ferris_json_may_be_number(found)
                          AND NOT coalesce(ferris_json_stands(CAST(j AS VARCHAR), ferris_json_key(path), found), false)
                     THEN ferris_json_unmarked(system.main.json_extract_string(ferris_json_marked(j), path))
                     ELSE found END)[1]
         ELSE system.main.json_extract_string(j, path) END"""

_VALUE = """(j, path) AS
    CASE WHEN contains(CAST(j AS VARCHAR), '.')
         THEN list_transform([CAST(system.main.json_extract(j, path) AS VARCHAR)], lambda found:
                CAST(CASE WHEN contains(found, '.')
                          AND NOT coalesce(ferris_json_stands(CAST(j AS VARCHAR), ferris_json_key(path), found), false)
                     THEN ferris_json_unmarked(
                       CAST(system.main.json_extract(ferris_json_marked(j), path) AS VARCHAR))
                     ELSE found END AS JSON))[1]
         ELSE system.main.json_extract(j, path) END"""


def with_exact_arrows(tree: exp.Expression) -> exp.Expression:
    """The tree, changed in place, with macros where it has arrows; a list of paths stays what it is."""
    for node in list(tree.find_all(exp.JSONExtract, exp.JSONExtractScalar)):
        if isinstance(node.expression, exp.Array):
            continue
        name = "ferris_json_text" if isinstance(node, exp.JSONExtractScalar) else "ferris_json_value"
        found = exp.Anonymous(this=name)
        if node.parent is None:
            tree = found
        node.replace(found)
        found.set("expressions", [node.this, node.expression])
    return tree


JSON_MACROS = {
    "ferris_json_marked": _MARKED,
    "ferris_json_unmarked": _UNMARKED,
    "ferris_json_stands": _STANDS,
    "ferris_json_key": _KEY,
    "ferris_json_may_be_number": _MAY_BE_NUMBER,
    "ferris_json_text": _TEXT,
    "ferris_json_value": _VALUE,
}
