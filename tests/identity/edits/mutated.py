"""Edits that a program makes of real code: what changes a result, and what changes nothing.

Modules of the standard library stand as own code under another name, and so do the pure functions
of the flows. A driver node calls several of their functions. Mutants of which the driver gives
something else must run; the same code written anew must hit. Which mutants these are is found by
running the driver on each of them, in a process of its own. `MUTANTS` in the environment says how
many there are; it is always the same ones that come first.
"""

import ast
import importlib
import os
import random
import signal
import types
from pathlib import Path

from _edit import HIT, Edit

MUTANTS = int(os.environ.get("MUTANTS", "100"))
FLOWS = Path(__file__).resolve().parents[3] / "flows"
SECONDS = 3  # that one mutant may take

TRY = """
def tried(function, *args, **kwargs):
    try:
        return repr(function(*args, **kwargs))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""

# What a module is called with: the lines of a list in the driver, which has `x`, 3.
DRIVEN = {
    "textwrap": """
        tried(m.fill, "the quick brown fox  jumps over-the lazy dog. And so on\\tand on " * x, 21),
        tried(m.wrap, "averyveryverylongword and short ones", 10, break_long_words=True),
        tried(m.shorten, "one two three four five", 12),
        tried(m.dedent, "    a\\n      b\\n\\n    c\\n"),
        tried(m.indent, "a\\n\\nb\\n", "> "),
        tried(m.fill, "one two three four", 8, initial_indent="* ", subsequent_indent="  "),
    """,
    "colorsys": """
        [tried(m.rgb_to_hls, r / 4, 0.25, 0.5) for r in range(x + 1)],
        [tried(m.hls_to_rgb, h / 8, 0.25, 0.5) for h in range(9)],
        [tried(m.rgb_to_hsv, r / 4, 0.5, 0.25) for r in range(x + 1)],
        [tried(m.hsv_to_rgb, h / 8, 0.5, 0.75) for h in range(9)],
        tried(m.rgb_to_yiq, 0.1, 0.2, 0.3),
        tried(m.yiq_to_rgb, 0.1, 0.2, 0.3),
    """,
    "shlex": """
        tried(m.split, "a 'b c' \\"d e\\" f\\\\ g # h", comments=True),
        tried(m.split, "a 'b c' d#e", posix=False),
        tried(m.quote, "a b'c"),
        tried(m.join, ["a b", "c", "$x", ""]),
        tried(lambda: list(m.shlex("a&&b||c;d>e", punctuation_chars=True))),
        tried(m.split, "a 'b"),
    """,
    "graphlib": """
        tried(lambda: list(m.TopologicalSorter({1: [2, x], 2: [4], 3: [4]}).static_order())),
        tried(lambda: list(m.TopologicalSorter({1: [2], 2: [x], 3: [1]}).static_order())),
        tried(lambda: m.TopologicalSorter({1: [2]}).is_active()),
        tried(lambda: m.TopologicalSorter({1: [2]}).done(1)),
    """,
    "fractions": """
        [tried(m.Fraction, text) for text in ("3/4", "-1.25", "1e-3", "q", " 7 ", "1/0")],
        tried(lambda: m.Fraction(1, 3) + m.Fraction(1, 6) * x),
        tried(lambda: m.Fraction(7, 3) // 2 - m.Fraction(7, 3) % 2),
        tried(lambda: m.Fraction(22, 7).limit_denominator(5)),
        tried(lambda: [round(m.Fraction(5, 2)), round(m.Fraction(17, 6), 1)]),
        tried(lambda: m.Fraction(2, 3) ** -2 < 2.5),
        tried(lambda: str(m.Fraction(6, 4)) + str(m.Fraction(8, 4))),
    """,
    "statistics": """
        tried(m.mean, [1, 2, 3, 4.5, x]),
        tried(m.median, [5, 1, x, 4]),
        tried(m.mode, [1, 1, 2, x]),
        tried(m.multimode, [1, 1, 2, 2, x]),
        tried(m.pstdev, [1.0, 2.0, 5.5, x]),
        tried(m.variance, [1, 2, 9, x]),
        tried(m.quantiles, [1, 2, 3, 4, 5, 9, x], n=4),
        tried(m.harmonic_mean, [2, 5, x]),
        tried(m.median_grouped, [1, 2, 2, x]),
        tried(lambda: m.NormalDist(1, 2) + m.NormalDist(x, 1)),
        tried(m.mean, []),
    """,
    "calendar": """
        tried(m.monthrange, 2024, 2),
        tried(lambda: m.TextCalendar().formatmonth(2024, x)),
        tried(lambda: m.Calendar(6).monthdayscalendar(2023, 12)),
        tried(m.leapdays, 1990, 2030),
        tried(m.isleap, 1900),
        tried(m.timegm, (2024, 1, 2, 3, 4, 5)),
        tried(lambda: m.HTMLCalendar().formatmonth(2024, 2)[:400]),
    """,
    "fnmatch": """
        tried(m.translate, "a*[!b-d]?.[ch"),
        tried(m.filter, ["a.py", "b.txt", "c.py"], "*.py"),
        [tried(m.fnmatchcase, name, "*[a-c]?") for name in ("xa1", "xd1", "a")],
    """,
    "quopri": """
        tried(m.encodestring, b"a=b \\xe9\\tc \\n" * x),
        tried(m.decodestring, b"a=3Db=E9=\\nc"),
        tried(m.needsquoting, b"\\t", True, False),
        tried(m.quote, b"\\xe9"),
        tried(m.ishex, b"g"),
    """,
    "reprlib": """
        [tried(m.repr, value) for value in (list(range(9)), "a" * 99, {1: 2}, {3, 4}, (1,))],
        tried(lambda: m.Repr().repr([[[[[[[x]]]]]]])),
        tried(lambda: m.Repr().repr(dict.fromkeys(range(9)))),
    """,
}

FLOW_FUNCTIONS = {
    "word_count": ("count_words", "add_up"),
    "retrieval": ("chunk", "evaluate"),
}
FLOW_DRIVERS = {
    "word_count": """
        tried(m.count_words, "a bb ccc dddd" * x, 2),
        tried(m.count_words, "a bb ccc"),
        tried(m.add_up, [1, 2, x]),
    """,
    "retrieval": """
        tried(m.chunk, ["a b c d e f g h i", "j k"], x),
        tried(m.chunk, ["a b c d e f g h i"], 4, 0.5),
        tried(m.evaluate, [[1, 0], [0, 1], [5]], ["q", "r", "s"], (1, 2)),
        tried(m.evaluate, [[1, 0], [0, 1]], ["q", ""]),
    """,
}


def standard(name):
    return Path(importlib.import_module(name).__file__).read_text(encoding="utf-8")


def of_flow(name):
    """The pure functions of a flow, without `@node` and what else the flow needs."""
    tree = ast.parse((FLOWS / f"{name}.py").read_text(encoding="utf-8"))
    kept = [each for each in tree.body if getattr(each, "name", "") in FLOW_FUNCTIONS[name]]
    for each in kept:
        each.decorator_list = []
    future = "from __future__ import annotations\n"
    return future + "\n\n".join(ast.unparse(each) for each in kept) + "\n"


def projects():
    """Name, text and driver of each module."""
    for name, lines in DRIVEN.items():
        yield name, standard(name), lines
    for name, lines in FLOW_DRIVERS.items():
        yield f"flow_{name}", of_flow(name), lines


def driver(name, lines):
    inside = "\n".join("        " + line.strip() for line in lines.strip().splitlines())
    return f"import own_{name} as m\n{TRY}\n\ndef f(x):\n    return [\n{inside}\n    ]\n"


# --- mutants --------------------------------------------------------------------------------------
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def other(value):
    """Another constant of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "!"
    return None


class Mutate(ast.NodeTransformer):
    """Changes the one place that has a number, and counts the places; docstrings are none."""

    def __init__(self, place):
        self.place, self.seen, self.told = place, -1, ""

    def here(self, node, what):
        self.seen += 1
        if self.seen == self.place:
            self.told = f"{what} in line {node.lineno}"
        return self.seen == self.place

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if type(node.op) in OPERATORS and self.here(node, "operator"):
            node.op = OPERATORS[type(node.op)]()
        return node

    visit_BoolOp = visit_AugAssign = visit_BinOp

    def visit_Compare(self, node):
        self.generic_visit(node)
        if type(node.ops[0]) in OPERATORS and self.here(node, "comparison"):
            node.ops[0] = OPERATORS[type(node.ops[0])]()
        return node

    def visit_Constant(self, node):
        new = other(node.value)
        if new is not None and self.here(node, "constant"):
            return ast.copy_location(ast.Constant(new), node)
        return node

    def visit_JoinedStr(self, node):
        return node  # its constants are no nodes of their own in each version

    def visit_arguments(self, node):
        self.generic_visit(node)
        if node.defaults and self.here(node.defaults[-1], "default"):
            node.defaults[-1] = ast.copy_location(ast.Constant(None), node.defaults[-1])
        return node

    def visit_If(self, node):
        self.generic_visit(node)
        if node.orelse and self.here(node, "branches"):
            node.body, node.orelse = node.orelse, node.body
        return node

    def visit_Expr(self, node):
        return node if isinstance(node.value, ast.Constant) else self.statement(node)

    def statement(self, node):
        self.generic_visit(node)
        if self.here(node, "statement"):
            return ast.copy_location(ast.Pass(), node)
        return node

    visit_Return = visit_Raise = visit_Delete = statement


def mutant(text, place):
    """The text with one place changed, and what was; None where there is no such place."""
    change = Mutate(place)
    tree = ast.fix_missing_locations(change.visit(ast.parse(text)))
    return (ast.unparse(tree), change.told) if change.told else None


def places(text):
    counter = Mutate(-1)
    counter.visit(ast.parse(text))
    return counter.seen + 1


def driven(name, text, lines):
    """What the driver gives, as text; None where the module cannot be imported, or hangs."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # a mutant may take itself for a script
            os.dup2(quiet, stream)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            module = types.ModuleType(f"own_{name}")
            exec(compile(text, f"own_{name}.py", "exec"), vars(module))
            space = {"m": module}
            exec(driver(name, lines).partition("\n")[2], space)
            os.write(writer, repr(space["f"](3)).encode()[:30000])
            os._exit(0)
        except BaseException:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    return None if status or not told or b" at 0x" in told else told


def mutants(many):
    """About as many mutants of each module, all of which change what its driver gives."""
    found = list(projects())
    each = -(-many // len(found))
    for name, text, lines in found:
        text = ast.unparse(ast.parse(text))
        right = driven(name, text, lines)
        order = list(range(places(text)))
        random.Random(name).shuffle(order)
        kept = 0
        for place in order:
            if kept == each:
                break
            new, told = mutant(text, place)
            result = driven(name, new, lines)
            if result is not None and result != right:
                kept += 1
                files = {f"own_{name}.py": text, "nodes.py": driver(name, lines)}
                change = [(f"own_{name}.py", None, new)]
                yield Edit(f"mutant {place} of {name}, {told}", "mutant", files, change)


# --- the same code, written anew ------------------------------------------------------------------
class Undocumented(ast.NodeTransformer):
    """Without docstrings."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_ClassDef = visit_Module = visit_AsyncFunctionDef = visit_FunctionDef


class Unannotated(ast.NodeTransformer):
    """Without hints of functions."""

    def visit_FunctionDef(self, node):
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_arg(self, node):
        node.annotation = None
        return node


class Renamed(ast.NodeTransformer):
    """With other names for the locals of functions that have no function or class within."""

    def visit_FunctionDef(self, node):
        within = [each for each in ast.walk(node) if each is not node]
        scopes = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.Global, ast.Nonlocal)
        if any(isinstance(each, scopes) for each in within):
            return node
        used = [each for each in within if isinstance(each, ast.Name)]
        names = {each.id for each in used if isinstance(each.ctx, ast.Store)}
        names -= {each.arg for each in within if isinstance(each, ast.arg)}
        for each in used:
            if each.id in names:
                each.id += "_renamed"
        return node


class Moved(ast.NodeTransformer):
    """With an assignment that nobody reads at its end."""

    def visit_Module(self, node):
        node.body += ast.parse("UNUSED_BY_ALL = 1\ndef _unused_by_all(): return 2\n").body
        return node


REWRITTEN = {
    "without docstrings": Undocumented,
    "without hints": Unannotated,
    "with locals renamed": Renamed,
    "with unused names": Moved,
}


def rewritten():
    for name, text, lines in projects():
        files = {f"own_{name}.py": text, "nodes.py": driver(name, lines)}
        plain = ast.unparse(ast.parse(text))
        texts = {"unparsed": plain}
        for how, change in REWRITTEN.items():
            texts[how] = ast.unparse(ast.fix_missing_locations(change().visit(ast.parse(text))))
        for how, new in texts.items():
            if how == "without docstrings" and "__doc__" in text:
                continue  # somebody reads them, so they count
            if new != text and (how == "unparsed" or new != plain):
                change = [(f"own_{name}.py", None, new)]
                yield Edit(f"{name} {how}", "rewritten", files, change, HIT)


EDITS = [*mutants(MUTANTS), *rewritten()]
