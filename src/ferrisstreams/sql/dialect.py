"""The dialect: DuckDB's SQL and the statements of streams, as a sqlglot dialect class.

Function calls stay as they are written: sqlglot's rewriting of functions is for other dialects, and would change what
DuckDB is asked. Only aggregates that other code recognises by class keep their class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, cast

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from ferrisstreams.sql.declaration_parser import DeclarationParser
from ferrisstreams.sql.functions import TAKES_LAMBDA
from ferrisstreams.sql.join_parser import JoinParser
from ferrisstreams.sql.refusals import refused_create, refused_statement
from ferrisstreams.sql.reserved import quote_hint
from ferrisstreams.sql.syntax import (
    TABLE_WITHIN,
    CreateStream,
    CreateView,
    EmitClause,
    MessageKey,
    PrimaryKey,
    RefusedSyntaxError,
    SelectAlone,
    StreamColumn,
    StreamProperty,
    WatermarkFor,
    Within,
    mark,
    token_span,
)
from ferrisstreams.sql.window_parser import WINDOW_BOUNDS, WINDOW_FUNCTIONS

#: Calls whose arguments have a syntax of their own.
_SPECIAL_CALLS = ("CAST", "TRY_CAST", "EXTRACT", "TRIM", "SUBSTRING", "POSITION", "OVERLAY")
_TYPED_AGGREGATES = ("COUNT", "SUM", "AVG")


@dataclass(frozen=True, slots=True)
class Tail:
    """What stands behind a query."""

    properties: list[exp.Expression]
    emit: EmitClause | None = None
    into: exp.Identifier | None = None


def _map(tree: exp.Expr) -> exp.Expr:
    """`MAP {}` is `map()` to the engine: inside a cast to a struct sqlglot prints a row for the brackets."""
    empty = isinstance(tree, exp.ToMap) and not tree.this.expressions
    return exp.Map() if empty else tree


def _cosine_distance(this: exp.Expr, expression: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this="list_cosine_distance", expressions=[this, expression])


class FerrisParser(DeclarationParser, JoinParser):
    #: The function whose arguments are being read.
    _called = ""

    FUNCTIONS: ClassVar = {name: DuckDBParser.FUNCTIONS[name] for name in _TYPED_AGGREGATES}

    FUNCTION_PARSERS: ClassVar = {
        **{name: DuckDBParser.FUNCTION_PARSERS[name] for name in _SPECIAL_CALLS},
        **dict.fromkeys(WINDOW_FUNCTIONS, lambda self: self._parse_window_function()),
        **dict.fromkeys(WINDOW_BOUNDS, lambda self: self._parse_window_bound()),
    }

    #: `ARRAY[…]` is read below: to sqlglot any call, column or field of these names before a bracket is a constructor.
    ARRAY_CONSTRUCTORS: ClassVar = {}

    #: To sqlglot FOR binds closer than a comparison: `[x = 1 FOR x IN l]` is read below.
    RANGE_PARSERS: ClassVar = {
        kind: parse for kind, parse in DuckDBParser.RANGE_PARSERS.items() if kind is not TokenType.FOR
    }

    NO_PAREN_FUNCTION_PARSERS: ClassVar = {
        **{name: DuckDBParser.NO_PAREN_FUNCTION_PARSERS[name] for name in ("CASE", "ANY", "@")},
        "MAP": lambda self: _map(DuckDBParser.NO_PAREN_FUNCTION_PARSERS["MAP"](self)),
    }

    #: `JSON '…'` is a cast, as with all other types.
    TYPE_LITERAL_PARSERS: ClassVar = {}

    #: To sqlglot `<=>` is an equality.
    EQUALITY: ClassVar = {
        kind: node for kind, node in DuckDBParser.EQUALITY.items() if kind is not TokenType.NULLSAFE_EQ
    }

    FACTOR: ClassVar = {
        **DuckDBParser.FACTOR,
        TokenType.NULLSAFE_EQ: _cosine_distance,  # type: ignore[dict-item]
    }

    #: `l[:n]` is a slice; `:n` is not a parameter.
    PLACEHOLDER_PARSERS: ClassVar = {
        kind: parse for kind, parse in DuckDBParser.PLACEHOLDER_PARSERS.items() if kind is not TokenType.COLON
    }

    #: The path stays as it is written: sqlglot makes `$.a.b` of the key `a.b`.
    JSON_OPERATORS: ClassVar = {
        TokenType.ARROW: lambda self, this, path: self.expression(exp.JSONExtract(this=this, expression=path)),
        TokenType.DARROW: lambda self, this, path: self.expression(exp.JSONExtractScalar(this=this, expression=path)),
    }

    QUERY_MODIFIER_PARSERS: ClassVar = {
        **DuckDBParser.QUERY_MODIFIER_PARSERS,
        TokenType.WINDOW: lambda self: ("windows", self._parse_windows()),
    }

    def parse_one_statement(self, tokens: list[Token], text: str) -> exp.Expression:
        """One statement from all its tokens (not empty). Raises `LocatedParseError` and `RefusedSyntaxError`."""
        trees = self._parse(lambda parser: cast(FerrisParser, parser)._parse_stream_statement(), tokens, text)
        assert isinstance(trees[0], exp.Expression)
        return trees[0]

    # Statements

    def _parse_stream_statement(self) -> exp.Expression:
        if self._match(TokenType.CREATE):
            return self._parse_create_stream_or_view()
        word = self._curr.text.upper()
        if self._curr.token_type in (TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.L_PAREN):
            return self._parse_select_alone()
        raise refused_statement(word, token_span(self._curr))

    def _parse_select_alone(self) -> SelectAlone:
        query = self._parse_query()
        tail = self._parse_tail([])
        return self.expression(SelectAlone(query=query, emit=tail.emit, properties=tail.properties, into=tail.into))

    def _parse_create_stream_or_view(self) -> exp.Expression:
        create = self._prev
        if self._match_text_seq("OR", "REPLACE"):
            raise RefusedSyntaxError(
                token_span(create).through(token_span(self._prev)),
                "OR REPLACE has no meaning in an application: each name is declared once",
                "E1204",
                "write CREATE without OR REPLACE",
            )
        if self._match_texts(("STREAM", "TABLE")):
            table = self._prev.text.upper() == "TABLE"
            self._refuse_if_not_exists()
            return self._parse_create_stream(table)
        if self._match_text_seq("VIEW"):
            self._refuse_if_not_exists()
            name = self._parse_name("a name for the view")
            self._expect(TokenType.ALIAS, "AS and a query")
            return self.expression(CreateView(this=name, query=self._parse_query()))
        raise refused_create(self._curr.text.upper(), token_span(self._curr or create))

    def _refuse_if_not_exists(self) -> None:
        first = self._curr
        if self._match_text_seq("IF", "NOT", "EXISTS"):
            raise RefusedSyntaxError(
                token_span(first).through(token_span(self._prev)),
                "IF NOT EXISTS has no meaning in an application: each name is declared once",
                "E1204",
                "write CREATE without IF NOT EXISTS",
            )

    def _parse_create_stream(self, table: bool) -> CreateStream:
        name = self._parse_name(f"a name for the {'table' if table else 'stream'}")
        columns: list[exp.Expression] = []
        declared = self._match(TokenType.L_PAREN, advance=False)
        if declared:
            columns = self._parse_wrapped_items(lambda: self._parse_declaration(table))
        properties = self._parse_property_lists([])
        query: exp.Expression | None = None
        tail = Tail(properties)
        if self._match(TokenType.ALIAS):
            if declared:
                what = "table" if table else "stream"
                self.raise_error(f"A {what} made by AS SELECT takes its columns from the query", self._prev)
            query = self._parse_query()
            tail = self._parse_tail(properties)
        elif not declared and not properties:
            self._fail_expected("the columns in parentheses, or AS and a query")
        return self.expression(
            CreateStream(
                this=name,
                columns=[item for item in columns if isinstance(item, StreamColumn)],
                watermarks=[item for item in columns if isinstance(item, WatermarkFor)],
                keys=[item for item in columns if isinstance(item, PrimaryKey)],
                table=table,
                properties=tail.properties,
                query=query,
                emit=tail.emit,
                into=tail.into,
            )
        )

    def _parse_query(self) -> exp.Expression:
        if self._curr.token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.L_PAREN):
            self._fail_expected("a query (SELECT …)")
        query = self._parse_select(nested=True, parse_subquery_alias=False)
        if not isinstance(query, exp.Expression):
            self._fail_expected("a query (SELECT …)")
        return query

    def _parse_tail(self, properties: list[exp.Expression]) -> Tail:
        """INTO, EMIT and WITH after a query, in any order."""
        tail = Tail(properties)
        while True:
            if self._is_emit():
                if tail.emit is not None:
                    self.raise_error("EMIT is written twice")
                tail = replace(tail, emit=self._parse_emit())
            elif self._match(TokenType.WITH, advance=False):
                tail = replace(tail, properties=self._parse_property_lists(tail.properties))
            elif self._match(TokenType.INTO):
                if tail.into is not None:
                    self.raise_error("INTO is written twice", self._prev)
                tail = replace(tail, into=self._parse_name("a name for the sink after INTO"))
            else:
                return tail

    def _is_emit(self) -> bool:
        return bool(self._curr.text.upper() == "EMIT" and self._curr.token_type == TokenType.VAR)

    def _parse_emit(self) -> EmitClause:
        first = self._curr
        self._advance()
        if self._match_text_seq("CHANGES"):
            kind = "CHANGES"
        elif self._match_text_seq("FINAL") or self._match_text_seq("ON", "WINDOW", "CLOSE"):
            kind = "FINAL"
        else:
            self._fail_expected("CHANGES, FINAL or ON WINDOW CLOSE after EMIT")
        emit = EmitClause(this=kind)
        mark(emit, first, self._prev)
        return emit

    # Properties

    def _parse_property_lists(self, properties: list[exp.Expression]) -> list[exp.Expression]:
        found = list(properties)
        while self._match(TokenType.WITH):
            if not self._match(TokenType.L_PAREN, advance=False):
                self._fail_expected("( and the properties after WITH")
            found.extend(self._parse_wrapped_items(self._parse_stream_property))
        return found

    def _parse_stream_property(self) -> StreamProperty:
        first = self._curr
        key = self._parse_property_key()
        last = self._prev
        self._expect(TokenType.EQ, f"= and a value for {key}")
        value = self._parse_property_value(key)
        name = exp.Identifier(this=key)
        mark(name, first, last)
        return StreamProperty(this=name, expression=value)

    def _parse_property_key(self) -> str:
        if self._match_set((TokenType.STRING, TokenType.IDENTIFIER)):
            return self._prev.text
        words: list[Token] = []
        while self._curr and self._curr.token_type not in (TokenType.EQ, TokenType.COMMA, TokenType.R_PAREN):
            words.append(self._curr)
            self._advance()
        if not words:
            self._fail_expected("a key such as 'connector'")
        # Not the text from the first to the last: there may be a comment in it.
        key = self._find_sql(words[0], words[0])
        for before, word in pairwise(words):
            apart = before.end + 1 < word.start and TokenType.DOT not in (before.token_type, word.token_type)
            key += " " * apart + self._find_sql(word, word)
        return key

    def _parse_property_value(self, key: str) -> exp.Expression:
        first = self._curr
        negative = self._match(TokenType.DASH)
        token = self._curr
        value: exp.Expression
        if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER) and not negative:
            value = exp.Literal.string(token.text)
        elif token.token_type == TokenType.NUMBER:
            value = exp.Literal(this=f"-{token.text}" if negative else token.text, is_string=False)
        elif token.token_type in (TokenType.TRUE, TokenType.FALSE) and not negative:
            value = exp.Boolean(this=token.token_type == TokenType.TRUE)
        else:
            self._fail_expected(f"a value for {key}: text in single quotes, a number, true or false")
        self._advance()
        mark(value, first, token)
        return value

    # What sqlglot reads otherwise

    def _is_prefixed(self) -> bool:
        """Whether a text comes with a letter right before it."""
        letter, text = self._curr, self._next
        return (
            letter.token_type == TokenType.VAR
            and letter.text in "xXbB"
            and text.token_type == TokenType.STRING
            and letter.end + 1 == text.start
        )

    def _parse_column_parts_fast(self) -> exp.Column | exp.Dot | None:
        return None if self._is_prefixed() else super()._parse_column_parts_fast()

    def _parse_prefixed(self) -> exp.Cast | None:
        """`x'41'` is a BLOB, `b'101'` a BIT."""
        if not self._is_prefixed():
            return None
        letter, digits = self._curr, self._next
        self._advance(2)
        if letter.text.lower() == "b":
            if not set(digits.text) <= set("01"):
                self.raise_error("Expected the digits 0 and 1 in b'…'", digits)
            return _typed_literal(digits.text, exp.DType.BIT)
        if not re.fullmatch("(?:[0-9a-fA-F]{2})*", digits.text):
            self.raise_error("Expected pairs of hexadecimal digits in x'…'", digits)
        return _typed_literal(re.sub("..", r"\\x\g<0>", digits.text), exp.DType.VARBINARY)

    def _parse_unary(self) -> exp.Expr | None:
        value = super()._parse_unary()
        if value is not None and self._curr and self._curr.text == "!" and self._curr.token_type is TokenType.NOT:
            raise RefusedSyntaxError(
                token_span(self._curr), "! behind a value is not supported", "E1201", "write factorial(n)"
            )
        return value

    def _parse_types(
        self,
        check_func: bool = False,
        schema: bool = False,
        allow_identifiers: bool = True,
        with_collation: bool = False,
    ) -> exp.Expr | None:
        """`NULL[:2]` is a slice: where a type is only looked for, NULL is a value."""
        if check_func and self._curr.token_type is TokenType.NULL:
            return None
        return super()._parse_types(check_func, schema, allow_identifiers, with_collation)

    def _parse_bracket(self, this: exp.Expr | None = None) -> exp.Expr | None:
        return super()._parse_bracket(None if _is_array_word(this) and self._is_list() else this)

    def _is_list(self) -> bool:
        return bool(self._match(TokenType.L_BRACKET, advance=False))

    def _parse_bracket_key_value(self, is_map: bool = False) -> exp.Expr | None:
        value = super()._parse_bracket_key_value(is_map)
        return self._parse_comprehension(value) if value is not None and self._match(TokenType.FOR) else value

    def _parse_comprehension(self, this: exp.Expr | None) -> exp.Comprehension | None:
        """`[value FOR name IN list IF condition]`, behind FOR. The list is any expression."""
        variable = self._parse_name("a name after FOR")
        position = self._parse_name("a name for the position") if self._match(TokenType.COMMA) else None
        self._expect(TokenType.IN, "IN and a list")
        values = self._parse_disjunction()
        condition = self._parse_disjunction() if self._match_text_seq("IF") else None
        return self.expression(
            exp.Comprehension(this=this, expression=variable, position=position, iterator=values, condition=condition)
        )

    def _parse_lambda(self, alias: bool = False) -> exp.Expr | None:
        """An argument of a call. DISTINCT stands before the first of several; sqlglot makes one of them all."""
        if self._is_json_arrow():
            return self._parse_order(self._parse_disjunction())
        if not self._match(TokenType.DISTINCT):
            return super()._parse_lambda(alias)
        argument = self._parse_disjunction()
        if argument is None:
            self._fail_expected("an expression after DISTINCT")
        distinct = self.expression(exp.Distinct(expressions=[argument]))
        return self._parse_limit(self._parse_respect_or_ignore_nulls(self._parse_order(distinct)))

    def _is_json_arrow(self) -> bool:
        """Whether `j -> 'a'` is a value of JSON: to sqlglot it is a lambda in any call, to the engine only in some."""
        return self._next.token_type is TokenType.ARROW and self._called not in TAKES_LAMBDA

    def _parse_projections(self) -> tuple[list[exp.Expr], list[exp.Expr] | None]:
        return self._parse_csv(self._parse_projection), None

    def _parse_projection(self) -> exp.Expr | None:
        item = self._parse_expression()
        if item is not None and self._match(TokenType.PRIMARY_KEY):
            return self.expression(MessageKey(this=item))
        return item

    def _parse_table_alias(self, alias_tokens: Collection[TokenType] | None = None) -> exp.TableAlias | None:
        if self._is_emit() or self._is_within():
            return None
        return super()._parse_table_alias(alias_tokens=alias_tokens)

    def _parse_group(self, skip_group_by_token: bool = False) -> exp.Group | None:
        """`GROUP BY ALL` ends there; sqlglot would take EMIT for a column."""
        if self._curr.token_type == TokenType.GROUP_BY and self._next.token_type == TokenType.ALL:
            self._advance(2)
            return exp.Group(all=True)
        group = super()._parse_group(skip_group_by_token)
        word = self._curr
        if group is not None and not any(group.args.values()):
            if not word or not word.text.isidentifier():
                self._fail_expected("a column or an expression after GROUP BY")
            raise RefusedSyntaxError(
                token_span(word), f"{word.text} is a word of SQL here, not a name", "E1001", quote_hint(word.text)
            )
        return group

    def _parse_column_ops(self, this: exp.Expr | None) -> exp.Expr | None:
        if isinstance(this, exp.Literal) and this.is_number and self._match(TokenType.DOT, advance=False):
            self.raise_error("A number has no fields")
        return super()._parse_column_ops(this)

    def _parse_string_as_identifier(self) -> exp.Identifier | None:
        """A table in single quotes is a reference to a file, not a name."""
        token = self._curr
        name = super()._parse_string_as_identifier()
        if name is not None:
            mark(name, token)
            name.meta["string"] = True
        return name

    def _parse_table_parts(
        self,
        schema: bool = False,
        is_db_reference: bool = False,
        wildcard: bool = False,
        fast: bool = False,
    ) -> exp.Table | exp.Dot | None:
        if self._next.token_type == TokenType.L_PAREN and self._curr.text.upper() in ("TABLE", *WINDOW_FUNCTIONS):
            return self._parse_windowed_table()
        return super()._parse_table_parts(schema, is_db_reference, wildcard, fast)

    def _parse_escape(self, this: exp.Expr | None) -> exp.Expr | None:
        """ESCAPE takes any expression."""
        if not self._match(TokenType.ESCAPE):
            return this
        escape = self._parse_unary()
        if escape is None:
            self._fail_expected("a character after ESCAPE")
        return self.expression(exp.Escape(this=this, expression=escape))

    def _parse_primary(self) -> exp.Expr | None:
        first = self._curr
        primary = self._parse_prefixed() or super()._parse_primary()
        if first is not None and first.token_type == TokenType.DOT and isinstance(primary, exp.Literal):
            primary = exp.Literal.number(f".{self._prev.text}")  # Without the zero, which is a digit of its type.
        if primary is not None:
            mark(primary, first, self._prev)
        return primary

    def _parse_placeholder(self) -> exp.Expr | None:
        first = self._curr
        placeholder = super()._parse_placeholder()
        if placeholder is not None:
            mark(placeholder, first, self._prev)
        return placeholder

    def _parse_table_hints(self) -> None:
        """`FROM s WITH (…)` configures the sink; it is not a hint."""
        return

    def _parse_function_call(
        self,
        functions: dict[str, Callable[..., exp.Expr]] | None = None,
        anonymous: bool = False,
        optional_parens: bool = True,
        any_token: bool = False,
    ) -> exp.Expr | None:
        first, outer = self._curr, self._called
        self._called = first.text.lower()
        call = super()._parse_function_call(functions, anonymous, optional_parens, any_token)
        self._called = outer
        if call is not None:
            mark(call, first)
        return call


def _typed_literal(text: str, kind: exp.DType) -> exp.Cast:
    return exp.Cast(this=exp.Literal.string(text), to=exp.DataType(this=kind))


def _is_array_word(node: exp.Expr | None) -> bool:
    word = node.this if isinstance(node, exp.Column) and not node.table else node
    return isinstance(word, exp.Identifier) and not word.quoted and word.name.upper() == "ARRAY"


class FerrisGenerator(DuckDBGenerator):
    #: A name that was written without quotes keeps matching without case.
    RESERVED_KEYWORDS: ClassVar[set[str]] = set()
    #: INTO is refused as it is written, and not as the CREATE TABLE that it would become.
    SUPPORTS_SELECT_INTO = True

    TRANSFORMS: ClassVar[dict[type[exp.Expr], Callable[..., str]]] = {
        **DuckDBGenerator.TRANSFORMS,
        MessageKey: lambda self, node: f"{self.sql(node, 'this')} PRIMARY KEY",
        Within: lambda self, node: _within(self, node),
        exp.WithinGroup: lambda self, node: f"{self.sql(node, 'this')} WITHIN GROUP ({_one_line(self, node)})",
        exp.Filter: lambda self, node: f"{self.sql(node, 'this')} FILTER (WHERE {self.sql(node.expression, 'this')})",
        #: Refused, but not lost before.
        exp.IgnoreNulls: lambda self, node: f"{self.sql(node, 'this')} IGNORE NULLS",
        exp.RespectNulls: lambda self, node: f"{self.sql(node, 'this')} RESPECT NULLS",
        exp.Paren: lambda self, node: _paren(self, node),
        exp.JSONExtract: lambda self, node: _arrow(self, node, "->"),
        exp.JSONExtractScalar: lambda self, node: _arrow(self, node, "->>"),
        exp.Star: lambda self, node: _star(self, node),
    }

    def table_sql(self, expression: exp.Table, sep: str = " AS ") -> str:
        return super().table_sql(expression, sep) + self._within_sql(expression)

    def subquery_sql(self, expression: exp.Subquery, sep: str = " AS ") -> str:
        return super().subquery_sql(expression, sep) + self._within_sql(expression)

    def _within_sql(self, table: exp.Expr) -> str:
        return f" {self.sql(table, TABLE_WITHIN)}" if table.args.get(TABLE_WITHIN) is not None else ""


def _within(generator: DuckDBGenerator, node: Within) -> str:
    lengths = ", ".join(generator.sql(length) for length in node.expressions)
    grace = f" GRACE PERIOD {generator.sql(node, 'grace')}" if node.args.get("grace") is not None else ""
    return f"WITHIN {lengths if len(node.expressions) == 1 else f'({lengths})'}{grace}"


def _paren(generator: DuckDBGenerator, node: exp.Paren) -> str:
    inner = generator.sql(node, "this")
    return generator.paren_sql(node) if "\n" in inner else f"({inner})"


def _arrow(generator: DuckDBGenerator, node: exp.JSONExtract | exp.JSONExtractScalar, arrow: str) -> str:
    """In parentheses where the engine's own text has them, but on one line."""
    text = f"{generator.sql(node, 'this')} {arrow} {generator.sql(node, 'expression')}"
    binds = isinstance(node.parent, exp.Binary | exp.Bracket | exp.In | exp.Not) and not node.same_parent
    return f"({text})" if binds else text


def _star(generator: DuckDBGenerator, node: exp.Star) -> str:
    parts = [("EXCLUDE", "except_"), ("REPLACE", "replace"), ("RENAME", "rename")]
    lists = [(word, generator.expressions(node, key=key, flat=True)) for word, key in parts]
    like = generator.sql(node, "ilike")
    return " ".join(["*", *([f"ILIKE {like}"] if like else []), *(f"{word} ({text})" for word, text in lists if text)])


def _one_line(generator: DuckDBGenerator, node: exp.WithinGroup) -> str:
    return " ".join(generator.sql(node, "expression").split())


class Ferris(DuckDB):
    """DuckDB's dialect with streams. Trees without our own nodes are generated as DuckDB's SQL."""

    class Tokenizer(DuckDB.Tokenizer):
        IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ['"', "`"]
        #: No statement swallows the rest of the text as a string.
        COMMANDS: ClassVar[set[TokenType]] = set()
        KEYWORDS: ClassVar[dict[str, TokenType]] = {
            **{word: kind for word, kind in DuckDB.Tokenizer.KEYWORDS.items() if word not in ("SESSION", "APPLY")},
            "BYTES": TokenType.VARBINARY,
        }

    Parser = FerrisParser

    Generator = FerrisGenerator
