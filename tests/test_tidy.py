"""The house rules, as an ordinary test. A failure names the file, the line and the rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from ferrisstreams.config.registry import KEYS
from ferrisstreams.errors import CODES

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "ferrisstreams"
CODE_FOLDERS = ("src", "tests", "benchmarks", "scripts", "examples")

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6

#: Vague names: a module is named for what it holds.
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "base_impl", "shared", "stuff"}

#: Calls that hide a dependency, what to use instead, and the modules that own them.
BANNED_CALLS = {
    "time.time": ("a Clock", ("clock.py",)),
    "time.time_ns": ("a Clock", ("clock.py",)),
    "time.monotonic": ("a Clock", ("clock.py",)),
    "time.monotonic_ns": ("a Clock", ("clock.py",)),
    "time.sleep": ("a Clock", ("clock.py",)),
    "datetime.now": ("a Clock", ()),
    "datetime.utcnow": ("a Clock", ()),
    "datetime.today": ("a Clock", ()),
    "date.today": ("a Clock", ()),
    "print": ("the output of cli", ("cli/",)),
    "logging.getLogger": ("an Observer", ("telemetry/", "sql/statements.py")),
    "input": ("an option", ()),
    "eval": ("nothing", ()),
    "exec": ("nothing", ()),
}
BANNED_IMPORTS = {"random": ("a column of the engine; only the jitter of retries is drawn", ("runtime/retry.py",))}

#: The field's words, each in one sense only. Others may stand in the glossary beside them.
GLOSSARY = """
source sink connector; format decode encode; record row batch; partition offset position; event time, watermark, late,
tumbling hopping session; changelog; operator plan stage pipeline; epoch prepare decide confirm; state log, pane;
job task application; dead letter; at-least-once exactly-once; ledger mark slice outcome fate decider
"""

#: How the name of a function does not begin: it is a verb, or a noun where the function only computes a value.
PREPOSITIONS = {"about", "after", "at", "before", "behind", "beside", "between", "by", "in", "into", "of", "over"} | {
    "ran",
    "told",
    "tried",
    "under",
    "without",
}

#: Words that give away that a sentence was thought in another language, and what to write.
TRANSLATED = {
    r"(?<![Tt]here )\bis no (?!longer|such|more than|less|different|later|shorter|greater|way)[a-z]+": "is not a …",
    r"\banew\b": "again, from the beginning",
    r"\b(is|are|was|were|be|been|when|unless|not) told\b": "is reported, is notified, is distinguished",
    r"\bbelongs? into\b": "belongs in, goes in",
    r"\bstands? twice\b": "is duplicated",
    r"\bgoes on (behind|where)\b": "resumes after, resumes where",
    r"\bthat is none\b": "that is not one",
    r"\bmend(s|ed)?\b": "fix",
    r"\bsteers?\b": "sets, controls",
    r"\bhow manieth\b": "which",
    r"\bis there no more\b": "no longer exists",
    r"\ba word more\b": "further",
}

#: Test modules of a whole package, or of the world outside, and not of one module.
TESTS_OF_NO_MODULE = {"duck/test_facts.py", "runtime/test_memory.py", "sql/test_hostile.py", "sql/test_meaning.py"}


@dataclass(frozen=True, slots=True)
class Module:
    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    def at(self, node: ast.AST, rule: str) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}: {rule}"


@cache
def modules() -> tuple[Module, ...]:
    found = (path for folder in CODE_FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(Module(path, text, ast.parse(text)) for path in found for text in [path.read_text("utf-8")])


def package_modules() -> Iterator[Module]:
    return (module for module in modules() if module.path.is_relative_to(PACKAGE))


@cache
def functions() -> tuple[tuple[Module, ast.FunctionDef | ast.AsyncFunctionDef], ...]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return tuple((m, node) for m in modules() for node in ast.walk(m.tree) if isinstance(node, kinds))


@cache
def pages() -> tuple[tuple[str, str], ...]:
    """Every page: its name and its text without code blocks."""
    paths = [*ROOT.glob("*.md"), *(p for f in ("docs", "examples", "benchmarks") for p in (ROOT / f).rglob("*.md"))]
    return tuple(
        (p.relative_to(ROOT).as_posix(), re.sub(r"```.*?```", "", p.read_text("utf-8"), flags=re.S)) for p in paths
    )


def none(violations: Iterable[str]) -> None:
    found = list(violations)
    assert not found, "\n" + "\n".join(found)


def test_module_is_short() -> None:
    none(f"{m.name}: {n} lines" for m in modules() if (n := m.text.count("\n")) > MODULE_LINES_MAX)


def test_function_is_short() -> None:
    lengths = ((m, f, (f.end_lineno or 0) - f.lineno + 1) for m, f in functions())
    none(m.at(f, f"{f.name} has {n} lines") for m, f, n in lengths if n > FUNCTION_LINES_MAX)


def test_function_takes_few_parameters() -> None:
    counted = ((m, f, parameters(f)) for m, f in functions() if m.path.is_relative_to(PACKAGE))
    none(m.at(f, f"{f.name} takes {n} parameters") for m, f, n in counted if n > PARAMETERS_MAX)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return sum(argument.arg not in ("self", "cls") for argument in arguments)


def test_name_is_not_vague() -> None:
    none(m.name for m in modules() if m.path.stem in VAGUE_NAMES or re.search(r"_?v\d+$", m.path.stem))


def test_package_init_is_empty() -> None:
    inits = (m for m in package_modules() if m.path.name == "__init__.py" and m.path.parent != PACKAGE)
    none(m.name for m in inits if m.text.strip())


def test_banned_call_is_not_made() -> None:
    none(
        module.at(node, f"{called} is banned: use {instead}")
        for module in package_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        for called in [ast.unparse(node.func).removeprefix("datetime.datetime").removeprefix(".")]
        for name, (instead, owners) in BANNED_CALLS.items()
        if (called == name or called.endswith("." + name)) and not owned(module, owners)
    )


def owned(module: Module, owners: tuple[str, ...]) -> bool:
    return module.path.relative_to(PACKAGE).as_posix().startswith(owners) if owners else False


def test_banned_module_is_not_imported() -> None:
    none(
        module.at(node, f"{name} is banned: use {instead}")
        for module in package_modules()
        for node, name in imports(module.tree)
        for banned, (instead, owners) in BANNED_IMPORTS.items()
        if name == banned and not owned(module, owners)
    )


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every import with the dotted name that it could mean."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def test_exception_is_not_swallowed() -> None:
    none(
        module.at(node, "an exception is swallowed, or caught without a name")
        for module in package_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or swallows_all(node))
    )


def swallows_all(handler: ast.ExceptHandler) -> bool:
    broad = handler.type is not None and ast.unparse(handler.type) in ("Exception", "BaseException")
    return broad and all(isinstance(step, ast.Pass | ast.Continue) for step in handler.body)


def test_work_is_not_put_off() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
    texts = [(m.name, m.text) for m in modules()] + list(pages())
    none(f"{name}: {found.group()}" for name, text in texts if (found := marks.search(text)))


def test_module_is_imported_somewhere() -> None:
    used = {name for module in modules() for _, name in imports(module.tree)}
    dotted = {".".join(m.path.relative_to(ROOT / "src").with_suffix("").parts): m for m in package_modules()}
    entries = {"ferrisstreams.cli.main", "ferrisstreams.__main__"}
    none(m.name for name, m in dotted.items() if name not in used | entries and not name.endswith("__init__"))


def test_error_code_is_used_and_documented() -> None:
    source = "".join(m.text for m in package_modules() if m.path.name != "errors.py")
    own = (PACKAGE / "errors.py").read_text("utf-8")
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    none(f"{code} is never raised" for code in CODES if code not in source and own.count(f'"{code}"') < 2)
    none(f"{code} is not in docs/errors.md" for code in CODES if code not in page)


def test_setting_is_used_and_documented() -> None:
    source = "".join(m.text for m in package_modules() if m.path.name != "registry.py")
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    none(f"{key.name} is read nowhere" for key in KEYS if f'"{key.name.rstrip("*")}' not in source)
    none(f"{key.name} is not in docs/configuration.md" for key in KEYS if f"`{key.name}`" not in page)


def test_page_has_one_heading_of_the_first_level() -> None:
    none(f"{name}: {n} headings" for name, text in pages() if (n := len(re.findall(r"^# ", text, re.M))) != 1)


def test_glossary_is_whole() -> None:
    page = dict(pages())["docs/glossary.md"]
    defined = {term.strip().lower() for line in re.findall(r"^- \*\*(.+?)\*\*", page, re.M) for term in line.split(",")}
    compound = ("event time", "state log", "dead letter")
    words = re.sub("|".join(compound), "", GLOSSARY)
    none(f"docs/glossary.md lacks: {w}" for w in (*compound, *re.findall(r"[\w-]+", words)) if w not in defined)


def test_link_between_pages_is_whole() -> None:
    none(
        f"{name}: {target}"
        for name, text in pages()
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        if not (ROOT / name).parent.joinpath(target).exists()
    )


def test_decision_has_its_five_parts() -> None:
    parts = ("Problem", "Decision", "Not doing", "Alternatives", "Consequences")
    decisions = [(name, text) for name, text in pages() if name.startswith("docs/decisions/0")]
    assert decisions
    none(f"{name}: lacks {part}" for name, text in decisions for part in parts if f"\n## {part}\n" not in text)


def test_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]
    none(f"decision {number} is there twice" for number, next_ in pairwise(numbers) if number == next_)


def test_connector_is_asked_and_its_name_is_not_compared() -> None:
    names = {"file", "kafka", "stdout", "blackhole"}

    def compared(node: ast.AST) -> Iterator[ast.expr]:
        if isinstance(node, ast.MatchValue):
            yield node.value
        elif isinstance(node, ast.Compare):
            is_key = isinstance(node.ops[0], ast.In | ast.NotIn)  # a key of a mapping, such as a mark's "file"
            for operand in node.comparators if is_key else (node.left, *node.comparators):
                yield from operand.elts if isinstance(operand, ast.Tuple | ast.List | ast.Set) else [operand]

    none(
        m.at(node, "ask the connector what it can do")
        for m in package_modules()
        for node in ast.walk(m.tree)
        if any(isinstance(each, ast.Constant) and each.value in names for each in compared(node))
    )


def test_function_is_named_by_a_verb_or_a_noun() -> None:
    named = ((m, f, f.name.lstrip("_").split("_")[0]) for m, f in functions() if m.path.is_relative_to(PACKAGE))
    none(m.at(f, f"{f.name} begins with a preposition") for m, f, first in named if first in PREPOSITIONS)


def test_sentence_does_not_read_as_translated() -> None:
    texts = [(m.name, m.text) for m in package_modules()] + [each for each in pages() if each[0] != "CHANGELOG.md"]
    none(
        f"{name}: {found.group()!r}: write {instead}"
        for name, text in texts
        for pattern, instead in TRANSLATED.items()
        for found in re.finditer(pattern, text)
    )


def test_unit_test_mirrors_a_module() -> None:
    unit = ROOT / "tests" / "unit"
    names = [path.relative_to(unit).as_posix() for path in sorted(unit.rglob("test_*.py"))]
    mirrored = ((name, PACKAGE / name.replace("test_", "", 1)) for name in names if name not in TESTS_OF_NO_MODULE)
    none(name for name, module in mirrored if not module.exists())


def test_test_says_what_holds() -> None:
    tests = ((m, f) for m, f in functions() if m.path.is_relative_to(ROOT / "tests") and f.name.startswith("test_"))
    none(m.at(f, f"{f.name}: a test's name is its rule") for m, f in tests if f.name.count("_") < 2)


@pytest.mark.parametrize("word", ["time.sleep", "unittest.mock", "monkeypatch.setattr"])
def test_test_does_not_fake(word: str) -> None:
    none(
        m.name
        for m in modules()
        if m.path.is_relative_to(ROOT / "tests") and m.path != Path(__file__) and word in m.text
    )
