"""Macros that keep the digits of JSON numbers.

The engine's JSON parser makes a double of a number with a fraction or an exponent, and its writer another text of that:
`1.10` becomes `1.1`. So `ferris_json_marked` turns such numbers into strings, `"␡n1.10␡e"`, with the control character
DEL as the mark, before the parser sees them; a mark that the text has itself becomes `␡s`. `ferris_json_unmarked` takes
the marks from what comes of it.

`ferris_json_text` and `ferris_json_value` are what the operators `->>` and `->` become, and the functions that do the
same; with several paths, or one that finds several values, `ferris_json_texts` and `ferris_json_values`. Where the
value that they find may be such a number, or hold one, it is found again in the marked text; not where the member
stands in the text exactly as the engine writes it, which costs a quarter of that.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

MARK = "\x7f"
BEGIN, END, ITSELF = f"{MARK}n", f"{MARK}e", f"{MARK}s"
_GROUP_BEGIN, _GROUP_END = f"{MARK}0", f"{MARK}1"

#: In the meta of an operator or function by a list of paths that a row gives: the engine takes such only where the
#: document is NULL, whatever the row.
OWN = "own"

#: A number that is not whole as it stands, or one of the numbers that are none (`NaN`, `-Infinity`).
NUMBER = r"-?(?:[0-9]+[.eE][0-9.eE+-]*|[nN][aA][nN]|[iI][nN][fF][a-zA-Z]*)"
_STRING = r'"(?:[^"\\]|\\.)*"'

# The escape of the mark, outside of an escaped backslash, is the mark to the parser. Replaced twice, because one may
# stand right behind another.
_MARK_ESCAPE = r"((?:^|[^\\])(?:\\\\)*)\\u007[fF]"
_PLAIN = f"""(t) AS
    CASE WHEN contains(t, '\\u007')
         THEN regexp_replace(regexp_replace(replace(t, '{MARK}', '{ITSELF}'),
                '{_MARK_ESCAPE}', '\\1{ITSELF}', 'g'), '{_MARK_ESCAPE}', '\\1{ITSELF}', 'g')
         ELSE replace(t, '{MARK}', '{ITSELF}') END"""

# Strings are matched too, to be passed over: behind them two marks stand with nothing between.
_MARKED = f"""(j) AS
    replace(replace(replace(
      regexp_replace(ferris_json_plain(CAST(j AS VARCHAR)),
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

_HAS_FRACTION = """(t) AS
    contains(t, '.') OR regexp_matches(t, '[0-9][eE]')"""

# Of a value that was found: whether it is a number with a fraction or an exponent, or may hold one.
_MAY_BE_NUMBER = """(t) AS
    CASE WHEN starts_with(t, '{') OR starts_with(t, '[') THEN ferris_json_has_fraction(t)
         ELSE t < ':' AND (contains(t, '.') OR contains(t, 'e')) AND TRY_CAST(t AS DOUBLE) IS NOT NULL END"""

# A macro's argument is copied to wherever it is named: here once, so that calls in calls do not grow.
_GUARDED = f"""(j) AS
    list_transform([CAST(j AS VARCHAR)], lambda t:
      CASE WHEN ferris_json_has_fraction(t) OR contains(t, '{MARK}') OR contains(t, '\\u007')
           THEN ferris_json_marked(t) ELSE t END)[1]"""

_RESTORED = """(t) AS
    list_transform([CAST(t AS VARCHAR)], lambda written: ferris_json_unmarked(written))[1]"""

_ESCAPED = f"""(t) AS replace(t, '{MARK}', '{ITSELF}')"""

# Beside a DECIMAL the engine's reader takes all numbers by their digits.
_READ = {
    name: f"""(j, shape) AS
        system.main.{function}('{{"v":' || CAST(j AS VARCHAR) || ',"z":0}}', shape).v"""
    for name, function in (("ferris_json_read", "from_json"), ("ferris_json_read_strict", "from_json_strict"))
}

_TEXT = """(j, path) AS
    list_transform([{'t': CAST(j AS VARCHAR), 'found': system.main.json_extract_string(j, path)}], lambda x:
      CASE WHEN ferris_json_may_be_number(x.found)
                AND NOT coalesce(ferris_json_stands(x.t, ferris_json_key(path), x.found), false)
           THEN ferris_json_unmarked(system.main.json_extract_string(ferris_json_marked(x.t), path))
           ELSE x.found END)[1]"""

_VALUE = """(j, path) AS
    list_transform([{'t': CAST(j AS VARCHAR), 'found': CAST(system.main.json_extract(j, path) AS VARCHAR)}], lambda x:
      CAST(CASE WHEN ferris_json_may_be_number(x.found)
                     AND NOT coalesce(ferris_json_stands(x.t, ferris_json_key(path), x.found), false)
                THEN ferris_json_unmarked(CAST(system.main.json_extract(ferris_json_marked(x.t), path) AS VARCHAR))
                ELSE x.found END AS JSON))[1]"""

# A list of values, of which there is one for each path or each place that a path finds.
_TEXTS = """(j, path) AS
    list_transform(system.main.json_extract_string(ferris_json_guarded(j), path),
      lambda found: ferris_json_unmarked(found))"""

_VALUES = """(j, path) AS
    list_transform(system.main.json_extract(ferris_json_guarded(j), path),
      lambda found: CAST(ferris_json_unmarked(CAST(found AS VARCHAR)) AS JSON))"""

# Of a value that has no parts.
_SCALAR = """(j, path) AS
    CASE WHEN system.main.json_value(j, path) IS NULL THEN NULL ELSE CAST(ferris_json_value(j, path) AS VARCHAR) END"""

_SCALARS = """(j, path) AS
    list_transform(system.main.json_value(ferris_json_guarded(j), path), lambda found: ferris_json_unmarked(found))"""

#: The functions that take values out of a document, and what each becomes.
EXTRACTING = {
    "json_extract": "ferris_json_value", "json_extract_path": "ferris_json_value",
    "json_extract_string": "ferris_json_text", "json_extract_path_text": "ferris_json_text",
    "json_value": "ferris_json_scalar",
}  # fmt: skip


def with_exact_arrows(tree: exp.Expression, calls: Iterable[exp.Expr]) -> exp.Expression:
    """The tree, changed in place, with macros where one of its calls is an arrow, or a function that does what those
    do."""
    for node in calls:
        match node:
            case exp.Anonymous():
                name, parts = EXTRACTING.get(str(node.name).lower()), node.expressions
            case exp.JSONExtractScalar():
                name, parts = "ferris_json_text", [node.this, node.expression]
            case _:
                name, parts = "ferris_json_value", [node.this, node.expression]
        if name is None or len(parts) != 2 or any(map(_is_null, parts)) or node.meta_get(OWN):
            continue
        found = exp.Anonymous(this=f"{name}s" if finds_several(parts[1]) else name)
        if node.parent is None:
            tree = found
        node.replace(found)
        found.set("expressions", parts)
    return tree


def is_arrow(call: exp.Expr) -> bool:
    """Whether it takes a value out of a document."""
    return not isinstance(call, exp.Anonymous) or call.name.lower() in EXTRACTING


def _is_null(value: exp.Expr) -> bool:
    """Whether this is NULL: of such a document, or by such a path, the engine gives NULL whatever the other one is."""
    while isinstance(value, exp.Paren | exp.Cast):
        value = value.this
    return isinstance(value, exp.Null)


def finds_several(path: exp.Expr) -> bool:
    """Whether a path is a list of paths, or one that finds several places."""
    while isinstance(path, exp.Paren | exp.Cast | exp.DPipe):
        path = path.this
    if isinstance(path, exp.Literal):
        return "*" in path.name
    return isinstance(path, exp.Array) or (isinstance(path, exp.Anonymous) and path.name.lower() in _LISTS)


#: Functions that give a list of what they are given.
_LISTS = frozenset({"list_value", "list_pack", "array_value"})


JSON_MACROS = {
    "ferris_json_plain": _PLAIN,
    "ferris_json_marked": _MARKED,
    "ferris_json_unmarked": _UNMARKED,
    "ferris_json_has_fraction": _HAS_FRACTION,
    "ferris_json_guarded": _GUARDED,
    "ferris_json_restored": _RESTORED,
    "ferris_json_escaped": _ESCAPED,
    "ferris_json_stands": _STANDS,
    "ferris_json_key": _KEY,
    "ferris_json_may_be_number": _MAY_BE_NUMBER,
    "ferris_json_text": _TEXT,
    "ferris_json_value": _VALUE,
    "ferris_json_texts": _TEXTS,
    "ferris_json_values": _VALUES,
    "ferris_json_scalar": _SCALAR,
    "ferris_json_scalars": _SCALARS,
    **_READ,
}
