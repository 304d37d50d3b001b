"""Reads docs/theory.md and docs/alignment.md as their tests do.

Displayed formulas are evaluated as they stand, tables are read cell by cell. A displayed formula is a line of a
```text block, `left relation right  for comment  (number)`, with the relations
`~ n^(exponent)`, `=`, `>=`, `<=`. A table is numbered by the line `Table number.` before it. The ```python blocks of
the document run in one namespace, with these names in it:

    eq(number, **symbols)   the exponent on the right of ~, the value of `symbol = ...`, or whether a relation holds
    table(number)           {row: {column: value}}; a cell that names symbols is a function of them
    slope(size)             the slope of log size(rng, n) against log n, over WIDTHS and DRAWS draws
    near(slope, exponent)   whether they agree to TOLERANCE
    close(x, y)             whether they agree to rounding
    sim                     the simulations, `docs_simulation`
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

import docs_simulation

WIDTHS = (64, 128, 256, 512, 1024)
DRAWS = 4
TOLERANCE = 0.06
"""Four standard errors of `slope`. A root mean square over n Gaussian entries has the relative error 1 / sqrt(2 n); the
slope over log2 n = 6..10 weighs them with -.2, -.1, 0, .1, .2, which gives 0.028 a draw, so 0.014 for four draws."""

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.MatMult: operator.matmul,
    ast.USub: operator.neg,
}
RELATIONS: dict[str, Callable[[Any, Any], Any]] = {"=": operator.eq, ">=": operator.ge, "<=": operator.le}
FUNCTIONS = ("min", "max", "log_n")


def names(expression: str) -> set[str]:
    """The symbols of an expression; `log_n` counts as one more, n."""
    found = {node.id for node in ast.walk(ast.parse(expression.strip())) if isinstance(node, ast.Name)}
    return (found - set(FUNCTIONS)) | ({"n"} if "log_n" in found else set())


def evaluate(expression: str, symbols: Mapping[str, Any]) -> Any:
    """The value of an expression in +, -, *, /, @, min, max and log_n; integers are exact."""

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(int(number)):
                return Fraction(number)
            case ast.Name(name):
                return symbols[name]
            case ast.UnaryOp():
                return OPERATORS[type(node.op)](value(node.operand))
            case ast.BinOp():
                return OPERATORS[type(node.op)](value(node.left), value(node.right))
            case ast.Call(func=ast.Name("min" | "max" as name)):
                return {"min": min, "max": max}[name](value(argument) for argument in node.args)
            case ast.Call(func=ast.Name("log_n"), args=[argument]):
                return math.log(value(argument), symbols["n"])
            case _:
                raise ValueError(f"{expression!r}: {ast.unparse(node)} is no part of a formula")

    wanted = names(expression)
    if wanted != set(symbols):
        raise ValueError(f"{expression!r} has the symbols {sorted(wanted)}, was given {sorted(symbols)}")
    return value(ast.parse(expression.strip(), mode="eval").body)


@dataclass(frozen=True)
class Formula:
    """A displayed line: left, relation, right."""

    left: str
    relation: str
    right: str

    @property
    def expressions(self) -> tuple[str, ...]:
        """What is evaluated: the right side alone where it gives a value, both sides of a relation."""
        return (self.right,) if self.gives_value else (self.left, self.right)

    @property
    def gives_value(self) -> bool:
        return self.relation == "~" or (self.relation == "=" and self.left.isidentifier())

    def __call__(self, **symbols: Any) -> Any:
        if self.gives_value:
            return evaluate(self.right, symbols)
        sides = [evaluate(e, {k: v for k, v in symbols.items() if k in names(e)}) for e in self.expressions]
        unknown = set(symbols) - names(self.left) - names(self.right)
        if unknown:
            raise ValueError(f"{self.left} {self.relation} {self.right} has no {sorted(unknown)}")
        return bool(np.all(RELATIONS[self.relation](*sides)))


LINE = re.compile(
    r"^(?P<left>.+?) (?P<relation>~|=|>=|<=) (?P<right>.+?)(?:\s{2,}for .*?)?\s{2,}\((?P<number>\d+)\)$"
)


def read_formula(line: str) -> tuple[int, Formula]:
    """A displayed line's number and formula."""
    found = LINE.match(line.strip())
    if not found:
        raise ValueError(f"not `left relation right  for comment  (number)`: {line!r}")
    right = found["right"].strip()
    if found["relation"] == "~":
        if not right.startswith("n^("):
            raise ValueError(f"what follows ~ must begin with n^(: {line!r}")
        right = _bracketed(right[2:])
    formula = Formula(found["left"].strip(), found["relation"], right)
    for expression in formula.expressions:
        names(expression)
    return int(found["number"]), formula


def _bracketed(text: str) -> str:
    """What stands in the brackets that a text opens with."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[1:position]
    raise ValueError(f"brackets do not close: {text!r}")


def read_cell(text: str) -> Any:
    """A number, a tuple of them, or a function of the symbols that the cell names."""
    named = names(f"({text},)")
    if named:
        return lambda **symbols: evaluate(text, {k: v for k, v in symbols.items() if k in named})
    parts = tuple(evaluate(part, {}) for part in text.split(","))
    return parts[0] if len(parts) == 1 else parts


@dataclass
class Section:
    """What one `##` section displays and runs: numbers of formulas and tables, (line, source) of blocks."""

    title: str
    formulas: dict[int, Formula] = field(default_factory=dict[int, Formula])
    tables: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict[int, dict[str, dict[str, Any]]])
    blocks: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def read_document(text: str) -> list[Section]:
    """The sections of a document.

    Raises:
        ValueError: a displayed line that is not a numbered formula, indented code (which would display a formula
            unseen), a table with digits but no number, a number used twice.
    """
    sections = [Section("")]
    lines = list(enumerate(text.splitlines(), start=1))
    caption: int | None = None
    while lines:
        number, line = lines.pop(0)
        if line.startswith("## "):
            sections.append(Section(line[3:]))
        elif line.startswith("```"):
            body = _take(lines, lambda row: not row.startswith("```"))
            lines.pop(0)
            if line == "```python":
                sections[-1].blocks.append((number, "\n".join(body) + "\n"))
            elif line == "```text":
                for key, formula in map(read_formula, filter(None, body)):
                    _add(sections, "formulas", key, formula)
            else:
                raise ValueError(f"line {number}: a block is ```text or ```python, not {line}")
        elif line.startswith("    "):
            raise ValueError(f"line {number}: indented; display formulas in ```text")
        elif line.startswith("|"):
            rows = [line, *_take(lines, lambda row: row.startswith("|"))]
            if caption is not None:
                _add(sections, "tables", caption, _table(rows))
            elif re.search(r"\d", "".join(rows)):
                raise ValueError(
                    f"line {number}: a table with digits needs the line `Table number.` before it"
                )
            caption = None
        elif found := re.match(r"Table (\d+)\.", line):
            caption = int(found[1])
    return sections


def _take(lines: list[tuple[int, str]], wanted: Callable[[str], bool]) -> list[str]:
    taken: list[str] = []
    while lines and wanted(lines[0][1]):
        taken.append(lines.pop(0)[1])
    return taken


def _add(sections: list[Section], kind: str, key: int, found: Any) -> None:
    if any(key in getattr(section, kind) for section in sections):
        raise ValueError(f"two {kind} with the number {key}")
    getattr(sections[-1], kind)[key] = found


def _table(rows: list[str]) -> dict[str, dict[str, Any]]:
    header, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0]: {c: read_cell(x) for c, x in zip(header[1:], row[1:], strict=True)} for row in body}


def legend(text: str) -> set[str]:
    """The symbols of the table that begins `| symbol |`."""
    rows = text.partition("| symbol |")[2].splitlines()[2:]
    cells = (row.split("|")[1] for row in _until_blank(rows))
    return {symbol for cell in cells for symbol in re.findall(r"`([^`]+)`", cell)}


def _until_blank(rows: list[str]) -> Iterator[str]:
    for row in rows:
        if not row.startswith("|"):
            return
        yield row


class Reader:
    """Runs a document's blocks and keeps what they read."""

    def __init__(self, text: str, name: str = "docs/theory.md") -> None:
        self.name = name
        self.sections = read_document(text)
        self.formulas = {k: f for section in self.sections for k, f in section.formulas.items()}
        self.tables = {k: t for section in self.sections for k, t in section.tables.items()}
        self.read: dict[int, set[tuple[str, int]]] = {}
        self.line = 0
        self.namespace: dict[str, Any] = {
            "eq": self.eq,
            "table": self.table,
            "slope": slope,
            "near": near,
            "close": close,
            "sim": docs_simulation,
        }

    def eq(self, number: int, /, **symbols: Any) -> Any:
        self.read.setdefault(self.line, set()).add(("formulas", number))
        return self.formulas[number](**symbols)

    def table(self, number: int) -> dict[str, dict[str, Any]]:
        self.read.setdefault(self.line, set()).add(("tables", number))
        return self.tables[number]

    def run(self, line: int, source: str) -> None:
        """One block; a failure names the document's line."""
        self.line = line
        exec(compile("\n" * line + source, self.name, "exec"), self.namespace)

    def run_all(self) -> None:
        for section in self.sections:
            for line, source in section.blocks:
                self.run(line, source)


def unread(reader: Reader) -> list[str]:
    """The formulas and tables that no block of their own section reads, except for tables that a later one does."""
    everywhere = set().union(*reader.read.values()) if reader.read else set()
    missing: list[str] = []
    for section in reader.sections:
        here = {found for line, _ in section.blocks for found in reader.read.get(line, set())}
        missing += [
            f"({number}) in {section.title!r}"
            for number in section.formulas
            if ("formulas", number) not in here
        ]
        missing += [f"Table {number}" for number in section.tables if ("tables", number) not in everywhere]
    return missing


def unasserted(sections: list[Section]) -> list[str]:
    """The sections that display something and assert nothing."""
    return [
        section.title
        for section in sections
        if (section.formulas or section.tables)
        and not any("assert " in source for _, source in section.blocks)
    ]


def mutants(expression: str) -> Iterator[str]:
    """An expression with one number raised, one sign or extremum turned, or one symbol gone."""
    changes = (
        (r"(?<![\w.])\d+", lambda found: str(int(found) + 1)),
        (r" [+-] ", lambda found: {" + ": " - ", " - ": " + "}[found]),
        (r"\bm(?:in|ax)\(", lambda found: {"min(": "max(", "max(": "min("}[found]),
        (r"\b(?!min\b|max\b|log_n\b)[A-Za-z]\w*", lambda found: f"(0*{found})"),
        (r"-(?=[\w(])", lambda _: ""),
    )
    for pattern, change in changes:
        for found in re.finditer(pattern, expression):
            yield expression[: found.start()] + change(found[0]) + expression[found.end() :]


def mutated_formulas(formula: Formula) -> Iterator[Formula]:
    for right in mutants(formula.right):
        yield Formula(formula.left, formula.relation, right)
    if not formula.gives_value:
        for left in mutants(formula.left):
            yield Formula(left, formula.relation, formula.right)
        for relation in {"=", ">=", "<="} - {formula.relation}:
            yield Formula(formula.left, relation, formula.right)


def survives(reader: Reader, key: tuple[str, int]) -> bool:
    """Whether every block that reads a formula or table still runs."""
    blocks = {line: source for section in reader.sections for line, source in section.blocks}
    kept = dict(reader.namespace)
    try:
        for line in [line for line, found in reader.read.items() if key in found]:
            reader.run(line, blocks[line])
    except (AssertionError, ArithmeticError, ValueError):
        return False
    finally:
        reader.namespace.clear()
        reader.namespace.update(kept)
    return True


def wrong_formulas(reader: Reader) -> tuple[list[str], int]:
    """The mutants of all formulas with which every block still runs, and how many were tried."""
    survivors: list[str] = []
    tried = 0
    for number, formula in list(reader.formulas.items()):
        for wrong in mutated_formulas(formula):
            reader.formulas[number] = wrong
            tried += 1
            if survives(reader, ("formulas", number)):
                survivors.append(f"({number}) {wrong.left} {wrong.relation} {wrong.right}")
        reader.formulas[number] = formula
    return survivors, tried


def slope(size: Callable[[np.random.Generator, int], Any]) -> Any:
    """The least-squares slope of log size(rng, n) against log n, over WIDTHS, averaged over DRAWS seeded draws.

    Of several sizes, the slope of each.
    """
    rng = np.random.default_rng(0)
    logs = [[np.log(size(rng, n)) for n in WIDTHS] for _ in range(DRAWS)]
    return np.polyfit(np.log(WIDTHS), np.mean(logs, axis=0), 1)[0]


def near(measured: Any, exponents: Any) -> bool:
    """Whether slopes agree with exponents to four standard errors."""
    return bool(np.all(np.abs(np.subtract(measured, np.asarray(exponents, dtype=float))) < TOLERANCE))


def close(x: Any, y: Any) -> bool:
    """Whether two numbers agree to rounding: 1e-9 is a million times a float's."""
    return abs(float(x) - float(y)) < 1e-9
