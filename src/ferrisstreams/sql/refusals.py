"""What is recognised but not supported, by name, each with the nearest way to get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.source_text import Span
from ferrisstreams.sql.syntax import RefusedSyntaxError, token_span

_STATEMENTS_HINT = "an application holds CREATE STREAM, CREATE TABLE, CREATE VIEW and SELECT"

_SHELL = "statements of the shell and the server are not part of an application file"

#: First word of a statement -> (what is refused, what to do).
_REFUSED_STATEMENTS: Mapping[str, tuple[str, str]] = {
    "INSERT": ("INSERT INTO", "write CREATE STREAM name AS SELECT … WITH (…): the stream's WITH configures its sink"),
    "DROP": ("DROP", "remove the statement that creates the stream from the file"),
    "SHOW": ("SHOW", _SHELL),
    "DESCRIBE": ("DESCRIBE", "ferris explain prints the schema of every stream"),
    "DESC": ("DESCRIBE", "ferris explain prints the schema of every stream"),
    "EXPLAIN": ("EXPLAIN as a statement", "run ferris explain on the file"),
    "ANALYZE": ("ANALYZE", "run ferris explain on the file"),
    "START": ("START JOB", "write CREATE STREAM name AS SELECT … and run the file with ferris run"),
    "STOP": ("STOP JOB", _SHELL),
    "PAUSE": ("PAUSE JOB", _SHELL),
    "RESUME": ("RESUME JOB", _SHELL),
    "RESTART": ("RESTART JOB", _SHELL),
    "DEPLOY": ("DEPLOY JOB", "write CREATE STREAM name AS SELECT … and run the file with ferris run"),
    "ROLLBACK": ("ROLLBACK", _SHELL),
    "ALTER": ("ALTER", "change the statement that creates the stream"),
    "UPDATE": ("UPDATE", "a stream's rows do not change: write a query that gives the new values"),
    "DELETE": ("DELETE", "a stream's rows do not go away: filter them with WHERE"),
    "MERGE": ("MERGE", "a stream's rows do not change: write a query that gives the new values"),
    "TRUNCATE": ("TRUNCATE", "a stream's rows do not go away"),
    "PIVOT": ("PIVOT", "write one aggregate with FILTER (WHERE …) for each column"),
    "UNPIVOT": ("UNPIVOT", "write one query for each column"),
    "VALUES": ("VALUES", "put the rows into a file and read it: FROM 'rows.jsonl'"),
    "TABLE": ("TABLE name", "write SELECT * FROM name"),
    "SUMMARIZE": ("SUMMARIZE", "write the aggregates that you need"),
    "BEGIN": ("BEGIN", "jobs commit by themselves, exactly once"),
    "COMMIT": ("COMMIT", "jobs commit by themselves, exactly once"),
    "USE": ("USE", "names are those of the file; there are no schemas"),
    "GRANT": ("GRANT", "there are no users in an application"),
    "REVOKE": ("REVOKE", "there are no users in an application"),
    "COMMENT": ("COMMENT ON", "write a comment with -- before the statement"),
}

_SEALED = "SQL reaches files only through streams: declare one with CREATE STREAM … WITH (connector = 'file', path = …)"
_SETTINGS = "settings go in WITH (…), the configuration file, or --set"

#: Statements that would reach files, the network or settings -> what to do.
_SEALED_STATEMENTS: Mapping[str, str] = {
    **dict.fromkeys(("ATTACH", "DETACH", "COPY", "EXPORT", "IMPORT", "LOAD", "INSTALL", "FORCE"), _SEALED),
    **dict.fromkeys(("CHECKPOINT", "VACUUM", "CALL", "EXECUTE", "PREPARE", "DEALLOCATE"), _STATEMENTS_HINT),
    **dict.fromkeys(("SET", "RESET", "PRAGMA", "DECLARE"), _SETTINGS),
}

#: What CREATE can be followed by elsewhere -> what to do.
_REFUSED_CREATE: Mapping[str, str] = {
    "PRIMARY KEY": "a stream has no key: write CREATE TABLE for the newest row of each key; in a query write"
    " SELECT column PRIMARY KEY to set the message key",
    "FUNCTION": "write the expression in the query: user-defined functions are not supported yet",
    "MACRO": "write the expression in the query: macros are not supported",
    "SOURCE": "write CREATE STREAM name (columns) WITH (…)",
    "SINK": "write CREATE STREAM name AS SELECT … WITH (…)",
    "MATERIALIZED": "write CREATE STREAM name AS SELECT …",
    "TEMPORARY": "write CREATE STREAM or CREATE VIEW",
    "TEMP": "write CREATE STREAM or CREATE VIEW",
    "INDEX": "state has no indexes to choose: keys come from GROUP BY",
    "SCHEMA": "names are those of the file; there are no schemas",
    "DATABASE": "names are those of the file; there are no databases",
    "TYPE": "write the type where it is used",
    "CONNECTOR": "write CREATE STREAM … WITH (connector = …)",
    "SEQUENCE": "rows can be numbered by their position only; there are no sequences",
    "KEY": "leave it out: a stream has no key; of a table write PRIMARY KEY; in a query SELECT column PRIMARY KEY sets"
    " the message key",
    "SECRET": "secrets go in the configuration",
}


def refused_statement(word: str, span: Span) -> RefusedSyntaxError:
    """The error of a statement that begins with `word`, which begins none of ours."""
    if word in _SEALED_STATEMENTS:
        return RefusedSyntaxError(span, f"{word} is not callable", "E1202", _SEALED_STATEMENTS[word])
    if word in _REFUSED_STATEMENTS:
        what, hint = _REFUSED_STATEMENTS[word]
        return RefusedSyntaxError(span, f"{what} is not supported in an application", "E1201", hint)
    near = get_close_matches(word, ["CREATE", "SELECT", "WITH"], 1, 0.6)
    return RefusedSyntaxError(
        span,
        f"no statement begins with {word!r}",
        "E1001",
        f"did you mean {near[0]}?" if near else _STATEMENTS_HINT,
    )


def refused_create(kind: str, span: Span) -> RefusedSyntaxError:
    """The error of `CREATE kind`, or of a declaration's part."""
    if kind in _REFUSED_CREATE:
        what = kind if kind in ("PRIMARY KEY", "KEY") else f"CREATE {kind}"
        return RefusedSyntaxError(span, f"{what} is not supported", "E1201", _REFUSED_CREATE[kind])
    near = get_close_matches(kind, ["STREAM", "TABLE", "VIEW"], 1, 0.5)
    hint = f"did you mean CREATE {near[0]}?" if near else "write CREATE STREAM, CREATE TABLE or CREATE VIEW"
    return RefusedSyntaxError(span, "after CREATE comes STREAM, TABLE or VIEW", "E1001", hint)


#: Words in a row, outside of brackets or anywhere, of which none of our statements has any -> what it is, what to do.
_REFUSED_PHRASES: tuple[tuple[tuple[str, ...], bool, str, str], ...] = (
    (("ROWS", "WINDOW", "BUFFER"), False, "ROWS WINDOW BUFFER",
     "aggregate in a window of time: GROUP BY key, TUMBLE(ts, INTERVAL '1' MINUTE)"),
    (("CHANGES", "LIMIT"), True, "LIMIT after EMIT", "write it before EMIT"),
    (("PARTITION BY",), True, "PARTITION BY", "name the message key in the select list: SELECT column PRIMARY KEY"),
    (("ASOF",), True, "an ASOF JOIN",
     "join in a bound of time: ON a.k = b.k AND b.ts BETWEEN a.ts - INTERVAL '1' HOUR AND a.ts"),
    (("MATCH_RECOGNIZE",), False, "MATCH_RECOGNIZE", "row pattern matching is not supported"),
)  # fmt: skip


def refused_phrase(tokens: Sequence[Token]) -> RefusedSyntaxError | None:
    """Of a statement that does not parse: the first phrase that belongs to what is not supported."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER):
            continue
        for words, outside, what, hint in _REFUSED_PHRASES:
            if (depth == 0 or not outside) and _follows(tokens, at, words):
                span = token_span(token).through(token_span(tokens[at + len(words) - 1]))
                return RefusedSyntaxError(span, f"{what} is not supported", "E1201", hint)
    return None


def _follows(tokens: Sequence[Token], at: int, words: Sequence[str]) -> bool:
    return [" ".join(token.text.upper().split()) for token in tokens[at : at + len(words)]] == list(words)


#: Functions that exist elsewhere -> what is written here.
FOREIGN_FUNCTIONS: Mapping[str, str] = {
    "struct": "write {'a': 1}, or struct_pack(a := 1)",
    "date_format": "write strftime(ts, '%Y-%m-%d %H:%M:%S')",
    "to_char": "write strftime(ts, '%Y-%m-%d %H:%M:%S'), or printf('%08.2f', x) for a number",
    "format_timestamp": "write strftime(ts, '%Y-%m-%d %H:%M:%S')",
    "timestamptostring": "write strftime(ts, '%Y-%m-%d %H:%M:%S')",
    "parse_timestamp": "write strptime(text, '%Y-%m-%d %H:%M:%S')",
    "stringtotimestamp": "write epoch_ms(strptime(text, '%Y-%m-%d %H:%M:%S'))",
    "to_date": "write CAST(text AS DATE), or CAST(strptime(text, '%d.%m.%Y') AS DATE)",
    "dateadd": "write ts + INTERVAL '1' DAY",
    "timestampadd": "write ts + INTERVAL '1' DAY",
    "timestampdiff": "write date_diff('day', from, to)",
    "nvl": "write coalesce(x, y)",
    "isnull": "write x IS NULL",
    "as_value": "write the column alone",
}

_RANK = "for the greatest of each group write max(x, n) or arg_max(row, x, n) with GROUP BY"
_NEIGHBOUR = "a row does not see its neighbours: collect them with list(x ORDER BY ts) in a window of time"

#: Functions that need OVER -> how to get near to what they give.
OVER_HINTS: Mapping[str, str] = {
    **dict.fromkeys(("row_number", "rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist", "ntile"), _RANK),
    **dict.fromkeys(("lag", "lead", "fill"), _NEIGHBOUR),
    **dict.fromkeys(
        ("first_value", "last_value", "nth_value"), "aggregate with GROUP BY: first(x), last(x), list(x)[n]"
    ),
}

_SUBQUERY = (
    "join it: FROM a JOIN (SELECT k, max(x) AS x FROM b GROUP BY k) AS b ON a.k = b.k; rows that have a partner or"
    " none: FROM a SEMI JOIN b ON …, FROM a ANTI JOIN b ON …; WHERE a.k IN (SELECT …) stands alone or with AND"
)

#: Nodes inside expressions -> (what is refused, what to do).
_REFUSED_NODES: tuple[tuple[type[exp.Expr], str, str], ...] = (
    (exp.Window, "OVER", "aggregate in a window of time: GROUP BY k, TUMBLE(ts, INTERVAL '1' MINUTE)"),
    (exp.Exists, "EXISTS (SELECT …)", _SUBQUERY),
    (exp.Subquery, "a subquery in an expression", _SUBQUERY),
    (exp.Query, "a subquery in an expression", _SUBQUERY),
    (exp.Unnest, "UNNEST", "use list functions such as list_transform and list_sum on the list itself"),
    (exp.PositionalColumn, "a column by position", "name the column"),
    (exp.Placeholder, "a parameter", "write the value"),
    (exp.Parameter, "a parameter", "write the value"),
    (exp.IgnoreNulls, "IGNORE NULLS", "write FILTER (WHERE x IS NOT NULL) after the aggregate"),
    (exp.RespectNulls, "RESPECT NULLS", "leave it out: first and last keep NULL"),
    (exp.GroupingSets, "GROUPING SETS", "write one stream for each grouping"),
    (exp.Rollup, "ROLLUP", "write one stream for each grouping"),
    (exp.Cube, "CUBE", "write one stream for each grouping"),
    (exp.Pivot, "PIVOT", "write one aggregate with FILTER (WHERE …) for each column"),
    (exp.Aliases, "several aliases for one item", "write one alias"),
    (exp.Alias, "an alias inside an expression", "give aliases to whole select items"),
)

_AS_OF = "join without it: a row of the stream meets the table's row of that moment"

#: Clauses of SELECT by the name of sqlglot's argument -> (what is refused, what to do).
_REFUSED_CLAUSES: Mapping[str, tuple[str, str]] = {
    "distinct": ("SELECT DISTINCT", "write GROUP BY over the same columns"),
    "joins": ("a join in brackets", "write the joins one behind the other: a JOIN b ON … JOIN c ON …"),
    "within": (
        "WITHIN at the first table of FROM",
        "write it behind the table that is joined: a JOIN b WITHIN 1 HOUR ON …",
    ),
    "laterals": ("LATERAL", "join a subquery: JOIN (SELECT …) AS b ON a.k = b.k"),
    "order": ("ORDER BY", "rows are written as their windows close: sort the output afterwards"),
    "limit": ("LIMIT", "it ends a SELECT alone: to stop a job after some rows run with --max-records"),
    "offset": ("OFFSET", "rows of a stream have no numbers"),
    "qualify": ("QUALIFY", "filter aggregates with HAVING"),
    "windows": ("a named window", "aggregate in a window of time: WINDOW TUMBLING(1m)"),
    "sample": ("TABLESAMPLE", "filter with WHERE, for example on hash(key) % 100 = 0"),
    "into": ("INTO", "write CREATE STREAM name AS SELECT … WITH (…)"),
    "pivots": ("PIVOT", "write one aggregate with FILTER (WHERE …) for each column"),
    "match": ("MATCH_RECOGNIZE", "row pattern matching is not supported"),
    "kind": ("SELECT AS STRUCT", "write {'a': a} for a struct"),
    "when": ("FOR SYSTEM_TIME AS OF", _AS_OF),
    "version": ("FOR SYSTEM_TIME AS OF", _AS_OF),
    "rollup": ("ROLLUP", "write one stream for each grouping"),
    "cube": ("CUBE", "write one stream for each grouping"),
    "grouping_sets": ("GROUPING SETS", "write one stream for each grouping"),
    "recursive": ("WITH RECURSIVE", "a stream cannot read itself"),
    "materialized": ("MATERIALIZED", "leave it out: a named query is inlined"),
    "db": ("a name with a schema", "names are those of the file; there are no schemas"),
    "locks": ("FOR UPDATE", "leave it out"),
    "ordinality": ("WITH ORDINALITY", "rows of a stream have no numbers"),
}


def refused_node(node: exp.Expr) -> tuple[str, str] | None:
    """What an expression's node is called and what to do instead, when it is not supported."""
    if isinstance(node, exp.Select | exp.SetOperation):
        return "a subquery in an expression", _SUBQUERY
    if isinstance(node, exp.Window) and node.this.name.lower() in OVER_HINTS:
        return f"{node.this.name.upper()} with OVER", OVER_HINTS[node.this.name.lower()]
    if isinstance(node, exp.Escape) and isinstance(node.this, exp.SimilarTo):
        return "ESCAPE after SIMILAR TO", "write regexp_full_match(x, 'pattern'), where a backslash escapes"
    return next(((what, hint) for kind, what, hint in _REFUSED_NODES if isinstance(node, kind)), None)


def refused_clause(node: exp.Expr, allowed: frozenset[str]) -> tuple[str, str, exp.Expr] | None:
    """The first argument of a query's node that is not allowed there: what it is, what to do, and where it stands."""
    for key, value in node.args.items():
        if key in allowed or value is None or value is False or value == []:
            continue
        what, hint = _REFUSED_CLAUSES.get(key, (key.upper().replace("_", " "), "leave it out"))
        first = value[0] if isinstance(value, list) else value
        return what, hint, first if isinstance(first, exp.Expr) else node
    return None
