"""Further edits of the kinds that were handed over: the second and third way to write each."""

from _edit import HIT, Edit, in_form

MOD = {"pkg/__init__.py": "", "pkg/mod.py": "def g(x):\n    return x + 1\n"}
IN_MOD = [("pkg/mod.py", "x + 1", "x + 2")]
HELPER = {"helper.py": "def g(x):\n    return x + 1\n"}
IN_HELPER = [("helper.py", "x + 1", "x + 2")]
ONE = [("x + 1", "x + 2")]


def by_mod(text, **more):
    return {**MOD, **more, "nodes.py": text}


def by_helper(text, **more):
    return {**HELPER, **more, "nodes.py": text}


BODY = [
    Edit("sign of a zero", "body", "def f(x): return -0.0\n", [("-0.0", "0.0")]),
    Edit("integer that becomes a float deep in a tuple", "body", "def f(x): return ((1, (2, 3)), x)\n", [("(2, 3)", "(2.0, 3)")]),
    Edit("set of constants that is searched", "body", "def f(x): return x in {1, 2, 3}\n", [("{1, 2, 3}", "{1, 2, 4}")]),
    Edit("bytes for text", "body", "def f(x): return b'a'\n", [("b'a'", "'a'")]),
    Edit("pattern of a match", "body", "def f(x):\n    match {'k': x}:\n        case {'k': 3}: return 'a'\n        case _: return 'b'\n", [("'k': 3}:", "'k': 4}:")]),
    Edit("guard of a match", "body", "def f(x):\n    match [x, 1]:\n        case [a, b] if a > 2: return a\n        case [a, b]: return b\n", [("a > 2", "a > 3")]),
    Edit("alternative of a match", "body", "def f(x):\n    match x:\n        case 1 | 2 | 3: return 'few'\n        case _: return 'many'\n", [("1 | 2 | 3", "1 | 2 | 4")]),
    Edit("class that a match captures", "body", "def f(x):\n    match x:\n        case int() as n: return n + 1\n        case str() as n: return n\n        case _: return None\n", [("case int()", "case float()")]),
    Edit("walrus in a condition", "body", "def f(x):\n    if (n := x + 1) > 3: return n\n    return 0\n", [("n := x + 1", "n := x + 2")]),
    Edit("condition of a comprehension", "body", "def f(x): return [i for i in range(x * 2) if i % 2]\n", [("if i % 2", "if i % 3")]),
    Edit("inner loop of a comprehension", "body", "def f(x): return {(i, j) for i in range(2) for j in range(x - i)}\n", [("range(x - i)", "range(x - 1)")]),
    Edit("class of error that is caught", "body", "def f(x):\n    try: return int('q')\n    except ValueError: return 1\n    except Exception: return 2\n", [("except ValueError", "except KeyError")]),
    Edit("else of a loop", "body", "def f(x):\n    for i in range(x):\n        if i == 5: break\n    else: return 'none'\n    return 'some'\n", [("i == 5", "i == 2")]),
    Edit("what finally returns", "body", "def f(x):\n    try: return 1\n    finally:\n        if x == 3: return 2\n", [("return 2", "return 3")]),
    Edit("conversion in an f-string", "body", "def f(x): return f'{str(x)!r}'\n", [("!r", "!s")]),
    Edit("width in an f-string, computed", "body", "def f(x): return f'{x:{x + 1}d}'\n", [("{x + 1}", "{x + 2}")]),
    Edit("keyword that is passed", "body", "def f(x): return sorted([x, 5, 1], reverse=True)\n", [("=True", "=False")]),
    Edit("name of a keyword that is passed", "body", "def g(a=0, b=0): return a - b\ndef f(x): return g(a=x)\n", [("a=x", "b=x")]),
    Edit("order of what is unpacked", "body", "def f(x):\n    a, *b = [x, 1, 2]\n    return a, b\n", [("a, *b =", "*b, a =")]),
    Edit("arguments that a star spreads", "body", "def g(*a, **k): return a, k\ndef f(x): return g(*(1, x), **{'k': 1})\n", [("*(1, x)", "*(x, 1)")]),
    Edit("method of a literal", "body", "def f(x): return 'ab c'.title()\n", [(".title()", ".upper()")]),
    Edit("step of a slice", "body", "def f(x): return list(range(9))[1::2]\n", [("[1::2]", "[1::3]")]),
    Edit("large integer", "body", "def f(x): return x + 2**70\n", [("2**70", "2**71")]),
    Edit("operator in place", "body", "def f(x):\n    x += 2\n    return x\n", [("x += 2", "x *= 2")]),
    Edit("what is awaited", "body", "import asyncio\nasync def g(x): return x + 1\nasync def h(x): return await g(x)\ndef f(x): return asyncio.run(h(x))\n", ONE),
    Edit("asynchronous generator", "body", "import asyncio\nasync def g(x):\n    for i in range(x): yield i + 1\nasync def h(x): return [i async for i in g(x)]\ndef f(x): return asyncio.run(h(x))\n", [("yield i + 1", "yield i + 2")]),
    Edit("generator that is delegated to", "body", "def h(x):\n    yield x + 1\ndef g(x): yield from h(x)\ndef f(x): return list(g(x))\n", ONE),
    Edit("class within the function", "body", "def f(x):\n    class A:\n        k = 1\n        def go(self): return self.k + x\n    return A().go()\n", [("k = 1", "k = 2")]),
    Edit("decorator within the function", "body", "def f(x):\n    def d(fn): return lambda: fn() + 1\n    @d\n    def g(): return x\n    return g()\n", [("fn() + 1", "fn() + 2")]),
    Edit("variable of an enclosing function", "body", "def f(x):\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n    for _ in range(x): up()\n    return n\n", [("n += 1", "n += 2")]),
    Edit("global read in a comprehension within a lambda", "body", "K = 1\ndef f(x): return (lambda v: [i + K for i in range(v)])(x)\n", [("K = 1", "K = 2")]),
    Edit("global read in a class body within the function", "body", "K = 1\ndef f(x):\n    class A:\n        k = K\n    return A.k\n", [("K = 1", "K = 2")]),
    Edit("default of a nested function", "body", "K = 1\ndef f(x):\n    def g(y, k=K): return y + k\n    return g(x)\n", [("K = 1", "K = 2")]),
]

IMPORT = [
    Edit("package's module under a name, in the function", "import", by_mod("def f(x):\n    import pkg.mod as m\n    return m.g(x)\n"), IN_MOD),
    Edit("second choice of an import, in the function", "import", {"slow.py": "def g(x): return x + 1\n", "nodes.py": "def f(x):\n    try:\n        from fast import g\n    except ImportError:\n        from slow import g\n    return g(x)\n"}, [("slow.py", "x + 1", "x + 2")]),
    Edit("first choice of an import appears, in the function", "import", {"slow.py": "def g(x): return x + 1\n", "nodes.py": "def f(x):\n    try:\n        from fast import g\n    except ImportError:\n        from slow import g\n    return g(x)\n"}, [("fast.py", None, "def g(x): return x + 5\n")]),
    Edit("name that a module begins to have, in the function", "import", {"helper.py": "def g(x): return x + 1\n", "nodes.py": "def f(x):\n    try:\n        from helper import quick as g\n    except ImportError:\n        from helper import g\n    return g(x)\n"}, [("helper.py", None, "def g(x): return x + 1\ndef quick(x): return x + 5\n")]),
    Edit("import in a branch of the function", "import", by_helper("def f(x):\n    if x > 1:\n        from helper import g as go\n        return go(x)\n    return x\n"), IN_HELPER),
    Edit("__import__ of a constant", "import", by_helper("def f(x): return __import__('helper').g(x)\n"), IN_HELPER),
    Edit("__import__ of a dotted constant", "import", by_mod("def f(x): return __import__('pkg.mod').mod.g(x)\n"), IN_MOD),
    Edit("__import__ with fromlist", "import", by_mod("def f(x): return __import__('pkg.mod', fromlist=['g']).g(x)\n"), IN_MOD),
    Edit("import_module of a relative name", "import", {"pkg/__init__.py": "", "pkg/mod.py": "def g(x): return x + 1\n", "pkg/core.py": "import importlib\ndef h(x): return importlib.import_module('.mod', __package__).g(x)\n", "nodes.py": "from pkg.core import h\ndef f(x): return h(x)\n"}, IN_MOD),
    Edit("import_module under another name", "import", by_mod("from importlib import import_module as load\ndef f(x): return load('pkg.mod').g(x)\n"), IN_MOD),
    Edit("import_module of a global name", "import", {**HELPER, "other.py": "def g(x): return x + 2\n", "nodes.py": "import importlib\nWHICH = 'helper'\ndef f(x): return importlib.import_module(WHICH).g(x)\n"}, [("'helper'", "'other'")]),
    Edit("import_module of a name from a table", "import", by_mod("import importlib\nPLACES = {'m': 'pkg.mod'}\ndef f(x): return importlib.import_module(PLACES['m']).g(x)\n"), IN_MOD),
    Edit("import_module of an f-string", "import", by_mod("import importlib\ndef load(name): return importlib.import_module(f'pkg.{name}')\ndef f(x): return load('mod').g(x)\n"), IN_MOD),
    Edit("module from a namespace package, in the function", "import", {"space/mod.py": "def g(x): return x + 1\n", "nodes.py": "def f(x):\n    from space import mod\n    return mod.g(x)\n"}, [("space/mod.py", "x + 1", "x + 2")]),
    Edit("module of a namespace package", "import", {"space/deep/mod.py": "def g(x): return x + 1\n", "nodes.py": "import space.deep.mod\ndef f(x): return space.deep.mod.g(x)\n"}, [("space/deep/mod.py", "x + 1", "x + 2")]),
    Edit("import from the package above, in the function", "import", {"pkg/__init__.py": "", "pkg/low.py": "def h(x): return x + 1\n", "pkg/sub/__init__.py": "", "pkg/sub/core.py": "def g(x):\n    from .. import low\n    from ..low import h\n    return low.h(x) + h(x)\n", "nodes.py": "from pkg.sub.core import g\ndef f(x): return g(x)\n"}, [("pkg/low.py", "x + 1", "x + 2")]),
    Edit("import that depends on the version", "import", by_helper("import sys\nif sys.version_info >= (3, 8):\n    from helper import g\nelse:\n    g = None\ndef f(x): return g(x)\n"), IN_HELPER),
    Edit("import that depends on a setting of one's own", "import", {"config.py": "FAST = False\n", "fast.py": "def g(x): return x + 5\n", "slow.py": "def g(x): return x + 1\n", "nodes.py": "from config import FAST\nif FAST:\n    from fast import g\nelse:\n    from slow import g\ndef f(x): return g(x)\n"}, [("config.py", "False", "True")]),
    Edit("import that depends on a setting, in the function", "import", {"config.py": "FAST = False\n", "fast.py": "def g(x): return x + 5\n", "slow.py": "def g(x): return x + 1\n", "nodes.py": "import config\ndef f(x):\n    if config.FAST:\n        from fast import g\n    else:\n        from slow import g\n    return g(x)\n"}, [("config.py", "False", "True")]),
    Edit("constant made by a module's __getattr__", "import", {"helper.py": "def __getattr__(name):\n    if name == 'K': return 1\n    raise AttributeError(name)\ndef __dir__(): return ['K']\n", "nodes.py": "import helper\ndef f(x): return helper.K + x\n"}, [("helper.py", "return 1", "return 2")]),
    Edit("table of a module's __getattr__", "import", {"pkg/__init__.py": "import importlib\n_WHERE = {'g': 'one'}\ndef __getattr__(name):\n    if name in _WHERE: return getattr(importlib.import_module('.' + _WHERE[name], __name__), name)\n    raise AttributeError(name)\ndef __dir__(): return sorted(_WHERE)\n", "pkg/one.py": "def g(x): return x + 1\n", "pkg/two.py": "def g(x): return x + 2\n", "nodes.py": "import pkg\ndef f(x): return pkg.g(x)\n"}, [("pkg/__init__.py", "'one'", "'two'")]),
    Edit("function that a module's __getattr__ finds by a table", "import", {"pkg/__init__.py": "import importlib\n_WHERE = {'g': 'mod'}\ndef __getattr__(name):\n    if name in _WHERE: return getattr(importlib.import_module('.' + _WHERE[name], __name__), name)\n    raise AttributeError(name)\n", "pkg/mod.py": "def g(x): return x + 1\n", "nodes.py": "def f(x):\n    from pkg import g\n    return g(x)\n"}, IN_MOD),
    Edit("property of a module's own class", "import", {"helper.py": "import sys, types\nclass Own(types.ModuleType):\n    @property\n    def k(self): return 1\nsys.modules[__name__].__class__ = Own\n", "nodes.py": "import helper\ndef f(x): return helper.k + x\n"}, [("helper.py", "return 1", "return 2")]),
    Edit("object in the place of a module", "import", {"helper.py": "import sys\nclass Own:\n    def g(self, x): return x + 1\nsys.modules[__name__] = Own()\n", "nodes.py": "import helper\ndef f(x): return helper.g(x)\n"}, IN_HELPER),
    Edit("module loaded from its file", "import", {"plug/in.py": "def g(x): return x + 1\n", "nodes.py": "import importlib.util\nfrom pathlib import Path\nspec = importlib.util.spec_from_file_location('plugin', Path(__file__).parent / 'plug' / 'in.py')\nm = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(m)\ndef f(x): return m.g(x)\n"}, [("plug/in.py", "x + 1", "x + 2")]),
    Edit("module made by hand", "import", "import types\nm = types.ModuleType('m')\nexec('def g(x): return x + 1', m.__dict__)\ndef f(x): return m.g(x)\n", ONE),
    Edit("names of a file that was run", "import", {"script.py": "K = 5\ndef g(x): return x + 1\n", "nodes.py": "import runpy\nSPACE = runpy.run_path('script.py')\ndef f(x): return SPACE['g'](x)\n"}, [("script.py", "x + 1", "x + 2")]),
    Edit("helper patched by a third module", "import", {**HELPER, "patch.py": "import helper\ndef quick(x): return x + 3\nhelper.g = quick\n", "nodes.py": "import helper\nimport patch\ndef f(x): return helper.g(x)\n"}, [("patch.py", "x + 3", "x + 4")]),
    Edit("module reloaded in the function", "import", by_helper("import importlib, helper\ndef f(x):\n    importlib.reload(helper)\n    return helper.g(x)\n"), IN_HELPER),
    Edit("function with its module's name", "import", {"pkg/__init__.py": "from .g import g\n", "pkg/g.py": "def g(x): return x + 1\n", "nodes.py": "import pkg\ndef f(x): return pkg.g(x)\n"}, [("pkg/g.py", "x + 1", "x + 2")]),
    Edit("module that only another one imports", "import", by_mod("import pkg\nimport other\ndef f(x): return pkg.mod.g(x)\n", **{"other.py": "import pkg.mod\n"}), IN_MOD),
    Edit("two modules that import each other in functions", "import", {"one.py": "def a(n):\n    from two import b\n    return b(n) + 1\n", "two.py": "def b(n):\n    from one import a\n    return a(n - 1) if n else 1\n", "nodes.py": "def f(x):\n    import one\n    return one.a(x)\n"}, [("two.py", "else 1", "else 2")]),
    Edit("import in a method", "import", by_helper("class A:\n    def go(self, x):\n        from helper import g\n        return g(x)\ndef f(x): return A().go(x)\n"), IN_HELPER),
    Edit("import in a property of a base class elsewhere", "import", {**HELPER, "base.py": "class B:\n    @property\n    def go(self):\n        import helper\n        return helper.g\n", "nodes.py": "from base import B\nclass A(B): pass\ndef f(x): return A().go(x)\n"}, IN_HELPER),
    Edit("import in a nested function", "import", by_mod("def f(x):\n    def inner():\n        from pkg import mod\n        return mod\n    return inner().g(x)\n"), IN_MOD),
    Edit("star import of what __all__ names", "import", {"pkg/__init__.py": "__all__ = ['mod']\n", "pkg/mod.py": "def g(x): return x + 1\n", "nodes.py": "from pkg import *\ndef f(x): return mod.g(x)\n"}, IN_MOD),
    Edit("text among a package's resources", "import", {"pkg/__init__.py": "", "pkg/q.txt": "select 1", "nodes.py": "import importlib.resources as r\nQ = (r.files('pkg') / 'q.txt').read_text()\ndef f(x): return Q\n"}, [("pkg/q.txt", "1", "2")]),
    Edit("name resolved by pkgutil", "import", by_mod("import pkgutil\ndef f(x): return pkgutil.resolve_name('pkg.mod:g')(x)\n"), IN_MOD),
    Edit("subpackages loaded on access", "import", {"pkg/__init__.py": "import lazy_loader as lazy\n__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={'mod': ['g']})\n", "pkg/mod.py": "def g(x): return x + 1\n", "nodes.py": "import pkg\ndef f(x): return pkg.g(x)\n"}, IN_MOD, needs="lazy_loader"),
    Edit("module that is loaded when it is used", "import", by_helper("import lazy_loader\nm = lazy_loader.load('helper')\ndef f(x): return m.g(x)\n"), IN_HELPER, needs="lazy_loader"),
    Edit("module in a module's attribute, passed on", "import", {**HELPER, "api.py": "import helper as backend\n", "nodes.py": "import api\ndef g(x, m): return m.g(x)\ndef f(x): return g(x, api.backend)\n"}, IN_HELPER),
    Edit("module chosen by a condition", "import", {**HELPER, "other.py": "def g(x): return x\n", "nodes.py": "import helper, other\ndef f(x):\n    m = helper if x > 1 else other\n    return m.g(x)\n"}, IN_HELPER),
    Edit("modules in a loop", "import", by_helper("import helper\ndef f(x): return [m.g(x) for m in (helper,)]\n"), IN_HELPER),
    Edit("module returned by a helper", "import", by_helper("import helper\ndef backend(): return helper\ndef f(x): return backend().g(x)\n"), IN_HELPER),
    Edit("module in an object's attribute", "import", by_helper("import helper\nclass A:\n    def __init__(self): self.xp = helper\n    def go(self, x): return self.xp.g(x)\ndef f(x): return A().go(x)\n"), IN_HELPER),
]

LOOKUP = [
    Edit("methodcaller on an object", "lookup", "import operator\nclass A:\n    def go(self, x): return x + 1\na = A()\ndef f(x): return operator.methodcaller('go', x)(a)\n", ONE),
    Edit("methodcaller on a module", "lookup", by_helper("import operator, helper\ndef f(x): return operator.methodcaller('g', x)(helper)\n"), IN_HELPER),
    Edit("attrgetter kept as a constant", "lookup", by_mod("import operator, pkg.mod\nGET = operator.attrgetter('mod.g')\ndef f(x): return GET(pkg)(x)\n"), IN_MOD),
    Edit("itemgetter in a table of functions", "lookup", by_helper("import operator, helper\nBY = {'a': helper.g}\ndef f(x): return operator.itemgetter('a')(BY)(x)\n"), IN_HELPER),
    Edit("getattr in a loop over constants", "lookup", {"helper.py": "def g(x): return x + 1\ndef h(x): return x * 2\n", "nodes.py": "import helper\ndef f(x): return [getattr(helper, name)(x) for name in ('g', 'h')]\n"}, [("helper.py", "x * 2", "x * 3")]),
    Edit("getattr with a name from a table", "lookup", by_helper("import helper\nNAMES = {'a': 'g'}\ndef f(x): return getattr(helper, NAMES['a'])(x)\n"), IN_HELPER),
    Edit("getattr with an f-string", "lookup", {"helper.py": "def go_3(x): return x + 1\n", "nodes.py": "import helper\ndef f(x): return getattr(helper, f'go_{x}')(x)\n"}, IN_HELPER),
    Edit("getattr in a helper", "lookup", by_helper("import helper\ndef pick(m, name): return getattr(m, name)\ndef f(x): return pick(helper, 'g')(x)\n"), IN_HELPER),
    Edit("getattr with a default, and the name appears", "lookup", {"helper.py": "J = 1\n", "nodes.py": "import helper\ndef f(x): return getattr(helper, 'K', 0) + x\n"}, [("helper.py", None, "J = 1\nK = 5\n")]),
    Edit("hasattr, and the name appears", "lookup", {"helper.py": "J = 1\n", "nodes.py": "import helper\ndef f(x): return 'fast' if hasattr(helper, 'fast') else 'slow'\n"}, [("helper.py", None, "J = 1\ndef fast(): pass\n")]),
    Edit("name that is missing at first", "lookup", "J = 1\ndef f(x):\n    try: return K + x\n    except NameError: return 0\n", [("J = 1", "K = 1")]),
    Edit("attribute of a module that is missing at first", "lookup", {"helper.py": "J = 1\n", "nodes.py": "import helper\ndef f(x):\n    try: return helper.K + x\n    except AttributeError: return 0\n"}, [("helper.py", None, "J = 1\nK = 5\n")]),
    Edit("globals with get", "lookup", "def g(x): return x + 1\ndef f(x): return globals().get('g')(x)\n", ONE),
    Edit("locals by name", "lookup", "def f(x):\n    def g(y): return y + 1\n    return locals()['g'](x)\n", [("y + 1", "y + 2")]),
    Edit("module out of sys.modules", "lookup", by_mod("import sys\nimport pkg.mod\ndef f(x): return sys.modules['pkg.mod'].g(x)\n"), IN_MOD),
    Edit("own module out of sys.modules", "lookup", "import sys\ndef g(x): return x + 1\ndef f(x): return sys.modules[__name__].g(x)\n", ONE),
    Edit("getattr on the own module", "lookup", "import sys\ndef g(x): return x + 1\ndef f(x): return getattr(sys.modules[__name__], 'g')(x)\n", ONE),
    Edit("__dict__ of a module", "lookup", by_helper("import helper\ndef f(x): return helper.__dict__['g'](x)\n"), IN_HELPER),
    Edit("__dict__ of a class", "lookup", "class A:\n    def go(self, x): return x + 1\ndef f(x): return A.__dict__['go'](None, x)\n", ONE),
    Edit("exec in the function", "lookup", "def g(x): return x + 1\ndef f(x):\n    space = {}\n    exec('y = g(3)', globals(), space)\n    return space['y']\n", ONE),
    Edit("expression compiled beforehand", "lookup", "K = 1\nE = compile('K + x', 'e', 'eval')\ndef f(x): return eval(E)\n", [("K = 1", "K = 2")]),
    Edit("text that is evaluated", "lookup", "E = 'x + 1'\ndef f(x): return eval(E)\n", ONE),
    Edit("text that is evaluated, elsewhere", "lookup", {"rules.py": "RULE = 'x * K'\nK = 1\ndef apply(x): return eval(RULE)\n", "nodes.py": "from rules import apply\ndef f(x): return apply(x)\n"}, [("rules.py", "K = 1", "K = 2")]),
    Edit("builtin of one's own", "lookup", by_helper("import builtins\nimport helper\nbuiltins.own_g = helper.g\ndef f(x): return own_g(x)\n"), IN_HELPER),
    Edit("members of a module", "lookup", by_helper("import inspect, helper\ndef f(x): return [fn(x) for _, fn in inspect.getmembers(helper, inspect.isfunction)]\n"), IN_HELPER),
    Edit("class made by type", "lookup", "def go(self, x): return x + 1\nA = type('A', (), {'go': go})\ndef f(x): return A().go(x)\n", ONE),
    Edit("class made by type, in the function", "lookup", "class B:\n    def go(self, x): return x + 1\ndef f(x): return type('A', (B,), {'k': 1})().go(x)\n", ONE),
    Edit("subclasses in another module", "lookup", {"base.py": "class Base: pass\n", "kinds.py": "from base import Base\nclass Kind(Base):\n    def go(self, x): return x + 1\n", "nodes.py": "from base import Base\nimport kinds\ndef f(x): return [c().go(x) for c in Base.__subclasses__()]\n"}, [("kinds.py", "x + 1", "x + 2")]),
    Edit("modules that pkgutil finds", "lookup", by_mod("import importlib, pkgutil, pkg\ndef f(x): return [importlib.import_module('pkg.' + m.name).g(x) for m in pkgutil.iter_modules(pkg.__path__)]\n"), IN_MOD),
    Edit("attribute in a format", "lookup", "class A:\n    k = 1\ndef f(x): return '{0.k} {1}'.format(A, x)\n", [("k = 1", "k = 2")]),
    Edit("attribute of a module in a format", "lookup", {"config.py": "K = 1\n", "nodes.py": "import config\ndef f(x): return '{0.K} {1}'.format(config, x)\n"}, [("config.py", "= 1", "= 2")]),
    Edit("path of attributes", "lookup", "import functools\nclass A:\n    class B:\n        k = 1\ndef f(x): return functools.reduce(getattr, 'B.k'.split('.'), A) + x\n", [("k = 1", "k = 2")]),
    Edit("globals of another function", "lookup", {"helper.py": "K = 1\ndef g(x): return x\n", "nodes.py": "from helper import g\ndef f(x): return g.__globals__['K'] + x\n"}, [("helper.py", "= 1", "= 2")]),
    Edit("globals of the frame", "lookup", "import sys\ndef g(x): return x + 1\ndef f(x): return sys._getframe().f_globals['g'](x)\n", ONE),
    Edit("constants of a function's code", "lookup", "def g(): return 1\ndef f(x): return [c for c in g.__code__.co_consts if c]\n", [("return 1", "return (4, 5)")]),
    Edit("defaults of a function", "lookup", "def g(a=1): pass\ndef f(x): return g.__defaults__\n", [("a=1", "a=2")]),
    Edit("class of an object, and its attribute", "lookup", "class A:\n    k = 1\n    def go(self): return type(self).k + self.__class__.k\na = A()\ndef f(x): return a.go()\n", [("k = 1", "k = 2")]),
    Edit("method by the name of what is visited", "lookup", "import ast\nclass V(ast.NodeVisitor):\n    def visit_Name(self, node): self.got = node.id + 'a'\ndef f(x):\n    v = V()\n    v.visit(ast.parse('b'))\n    return v.got\n", [("+ 'a'", "+ 'z'")]),
    Edit("method by its name on self", "lookup", "class A:\n    def do_go(self, x): return x + 1\n    def run(self, what, x): return getattr(self, 'do_' + what)(x)\ndef f(x): return A().run('go', x)\n", ONE),
    Edit("setattr on a module at import", "lookup", "import sys\nfor i, name in enumerate(['A', 'B']): setattr(sys.modules[__name__], name, i + 1)\ndef f(x): return B + x\n", [("i + 1", "i + 2")]),
    Edit("names added to globals at import", "lookup", "globals().update({n: i for i, n in enumerate('AB', 1)})\ndef f(x): return B + x\n", [("'AB', 1", "'AB', 2")]),
]

REGISTRY = [
    Edit("registering decorator with optional arguments", "registry", """
        BY = {}
        def register(function=None, *, name=None):
            def keep(fn):
                BY[name or fn.__name__] = fn
                return fn
            return keep if function is None else keep(function)
        @register(name='a')
        def g(x): return x + 1
        def f(x): return BY['a'](x)
        """, ONE),
    Edit("name under which something is registered", "registry", """
        BY = {}
        def register(name): return lambda fn: BY.setdefault(name, fn)
        @register('a')
        def g(x): return x + 1
        @register('b')
        def h(x): return x * 5
        def f(x): return BY['a'](x) + len(BY)
        """, [("'b'", "'a'")]),
    Edit("plugins that a package imports for their effect", "registry", {
        "plugins/__init__.py": "from . import one\n", "plugins/core.py": "HOOKS = []\ndef hook(fn):\n    HOOKS.append(fn)\n    return fn\n",
        "plugins/one.py": "from .core import hook\n@hook\ndef g(x): return x + 1\n",
        "nodes.py": "import plugins\nfrom plugins.core import HOOKS\ndef f(x): return [h(x) for h in HOOKS]\n",
    }, [("plugins/one.py", "x + 1", "x + 2")]),
    Edit("plugin that is new", "registry", {
        "core.py": "HOOKS = []\n", "one.py": "import core\ncore.HOOKS.append(lambda x: x + 1)\n",
        "nodes.py": "import core, one\ndef f(x): return [h(x) for h in core.HOOKS]\n",
    }, [("one.py", "core.HOOKS", "core.HOOKS.append(lambda x: x * 9)\ncore.HOOKS")]),
    Edit("order of the steps in a table", "registry", "def add(x): return x + 1\ndef double(x): return x * 2\nSTEPS = {'add': add, 'double': double}\ndef f(x):\n    for step in STEPS.values(): x = step(x)\n    return x\n", [("{'add': add, 'double': double}", "{'double': double, 'add': add}")]),
    Edit("hooks by event", "registry", "from collections import defaultdict\nHOOKS = defaultdict(list)\nHOOKS['start'].append(lambda x: x + 1)\ndef f(x): return [h(x) for h in HOOKS['start']]\n", ONE),
    Edit("functions by type", "registry", "BY = {int: lambda x: x + 1, str: len}\ndef f(x): return BY[type(x)](x)\n", ONE),
    Edit("registry of weak references", "registry", "import weakref\nBY = weakref.WeakValueDictionary()\ndef g(x): return x + 1\nBY['g'] = g\ndef f(x): return BY['g'](x)\n", ONE),
    Edit("class registered with an abstract one", "registry", "import abc\nclass Number(abc.ABC): pass\nNumber.register(str)\ndef f(x): return isinstance(x, Number)\n", [("(str)", "(int)")]),
    Edit("what counts as an instance", "registry", "class M(type):\n    def __instancecheck__(cls, value): return value > 2\nclass Big(metaclass=M): pass\ndef f(x): return isinstance(x, Big)\n", [("> 2", "> 3")]),
    Edit("subclass hook of an abstract class", "registry", "import abc\nclass P(abc.ABC):\n    @classmethod\n    def __subclasshook__(cls, other): return hasattr(other, 'real')\ndef f(x): return isinstance(x, P)\n", [("'real'", "'unreal'")]),
    Edit("class that falls back to JSON", "registry", "import json\nclass E(json.JSONEncoder):\n    def default(self, o): return sorted(o)\ndef f(x): return json.dumps({x, 1}, cls=E)\n", [("sorted(o)", "sorted(o, reverse=True)")]),
    Edit("single dispatch of a method", "registry", """
        import functools
        class A:
            @functools.singledispatchmethod
            def go(self, x): return 0
            @go.register
            def _(self, x: int): return x + 1
        def f(x): return A().go(x)
        """, ONE),
    Edit("single dispatch, registered in another module", "registry", {
        "base.py": "import functools\n@functools.singledispatch\ndef g(x): return 0\n", "kinds.py": "from base import g\n@g.register\ndef on_int(x: int): return x + 1\n",
        "nodes.py": "import kinds\nfrom base import g\ndef f(x): return g(x)\n",
    }, [("kinds.py", "x + 1", "x + 2")]),
    Edit("dataclass of functions", "registry", "from dataclasses import dataclass, field\nfrom typing import Callable\n@dataclass(frozen=True)\nclass Step:\n    name: str\n    run: Callable = field(repr=False, compare=False)\nSTEPS = (Step('a', lambda x: x + 1),)\ndef f(x): return STEPS[0].run(x)\n", ONE),
    Edit("functions as members of an enum", "registry", "import enum\ndef g(x): return x + 1\nclass Op(enum.Enum):\n    ADD = (g,)\ndef f(x): return Op.ADD.value[0](x)\n", ONE),
]

FUNCTION = [
    Edit("keyword of a partial", "function", "import functools\ndef g(x, k=0): return x + k\np = functools.partial(g, k=1)\ndef f(x): return p(x)\n", [("k=1", "k=2")]),
    Edit("partial of a partial made in the function", "function", by_helper("import functools, helper\ndef f(x): return functools.partial(functools.partial(helper.g), x)()\n"), IN_HELPER),
    Edit("partial of a builtin", "function", "import functools\nG = functools.partial(int, base=4)\ndef f(x): return G(f'1{x}')\n", [("base=4", "base=5")]),
    Edit("loop variable in closures", "function", "FS = []\nfor i in (1, 2): FS.append(lambda x, i=i: x + i)\ndef f(x): return [g(x) for g in FS]\n", [("(1, 2)", "(1, 3)")]),
    Edit("closures over one variable", "function", "def make():\n    fs = []\n    for i in (1, 2): fs.append(lambda x: x + i)\n    return fs\nFS = make()\ndef f(x): return [g(x) for g in FS]\n", [("(1, 2)", "(1, 3)")]),
    Edit("closure over a closure", "function", "def outer(k):\n    def mid():\n        def g(x): return x + k\n        return g\n    return mid()\ng = outer(1)\ndef f(x): return g(x)\n", [("outer(1)", "outer(2)")]),
    Edit("closure over an object with private state", "function", "class S:\n    def __init__(self, k): self._k = k\n    def get(self): return self._k\ndef make(s):\n    def g(x): return x + s.get()\n    return g\ng = make(S(1))\ndef f(x): return g(x)\n", [("S(1)", "S(2)")]),
    Edit("default given by a name", "function", "K = 1\ndef g(x, k=K): return x + k\ndef f(x): return g(x)\n", [("K = 1", "K = 2")]),
    Edit("function as a default", "function", "def g(x): return x + 1\ndef f(x, how=g): return how(x)\n", ONE),
    Edit("lambda as a default by keyword only", "function", "def f(x, *, key=lambda v: v + 1): return key(x)\n", [("v + 1", "v + 2")]),
    Edit("defaults set afterwards", "function", "def g(x, k=0): return x + k\ng.__defaults__ = (1,)\ndef f(x): return g(x)\n", [("(1,)", "(2,)")]),
    Edit("keyword defaults set afterwards", "function", "def g(x, *, k=0): return x + k\ng.__kwdefaults__ = {'k': 1}\ndef f(x): return g(x)\n", [("'k': 1", "'k': 2")]),
    Edit("code taken from another function", "function", "def a(x): return x + 1\ndef g(x): return 0\ng.__code__ = a.__code__\ndef f(x): return g(x)\n", ONE),
    Edit("function made of another one's code", "function", "import types\ndef a(x): return x + K\ng = types.FunctionType(a.__code__, {'K': 1})\ndef f(x): return g(x)\n", [("'K': 1", "'K': 2")]),
    Edit("function out of exec at import", "function", "SPACE = {'K': 1}\nexec('def g(x): return x + K', SPACE)\ng = SPACE['g']\ndef f(x): return g(x)\n", [("'K': 1", "'K': 2")]),
    Edit("operator kept under a name", "function", "import operator\nOP = operator.add\ndef f(x): return OP(x, 2)\n", [("operator.add", "operator.mul")]),
    Edit("method of a builtin class kept under a name", "function", "G = str.upper\ndef f(x): return G('aB')\n", [("str.upper", "str.swapcase")]),
    Edit("bound method of a builtin object", "function", "G = [1, 3, 3].count\ndef f(x): return G(x)\n", [("[1, 3, 3]", "[1, 3, 4]")]),
    Edit("bound method of a pattern", "function", "import re\nG = re.compile('[a-c]').sub\ndef f(x): return G('-', 'abcd')\n", [("[a-c]", "[a-b]")]),
    Edit("membership in a set kept as a function", "function", "IN = frozenset({1, 3}).__contains__\ndef f(x): return IN(x)\n", [("{1, 3}", "{1, 4}")]),
    Edit("methodcaller kept under a name", "function", "import operator\nG = operator.methodcaller('upper')\ndef f(x): return G('aB')\n", [("'upper'", "'lower'")]),
    Edit("itemgetter kept under a name", "function", "import operator\nG = operator.itemgetter(0)\ndef f(x): return G([x, 1])\n", [("(0)", "(1)")]),
    Edit("comparison as a key", "function", "import functools\ndef order(a, b): return a - b\ndef f(x): return sorted([x, 1, 2], key=functools.cmp_to_key(order))\n", [("a - b", "b - a")]),
    Edit("arguments kept as constants", "function", "ARGS = (1, 2)\nMORE = {'k': 1}\ndef g(*a, k): return a, k\ndef f(x): return g(*ARGS, **MORE)\n", [("'k': 1", "'k': 2")]),
    Edit("class method kept under a name", "function", "class A:\n    k = 1\n    @classmethod\n    def make(cls, x): return cls.k + x\nmake = A.make\ndef f(x): return make(x)\n", [("k = 1", "k = 2")]),
    Edit("attribute of a function set in another module", "function", {**HELPER, "setter.py": "import helper\nhelper.g.k = 1\n", "nodes.py": "import setter\nfrom helper import g\ndef f(x): return g.k + x\n"}, [("setter.py", "= 1", "= 2")]),
    Edit("attribute of a method", "function", "class A:\n    def go(self): return self.go.k\n    go.k = 1\ndef f(x): return A().go() + x\n", [("k = 1", "k = 2")]),
    Edit("generator that is sent to", "function", "def g():\n    got = yield\n    while True: got = yield got + 1\ndef f(x):\n    it = g()\n    next(it)\n    return it.send(x)\n", [("got + 1", "got + 2")]),
    Edit("function mapped over values", "function", by_helper("import helper\ndef f(x): return list(map(helper.g, range(x)))\n"), IN_HELPER),
    Edit("function given to a thread pool", "function", by_helper("from concurrent.futures import ThreadPoolExecutor\nimport helper\ndef f(x):\n    with ThreadPoolExecutor(1) as pool: return pool.submit(helper.g, x).result()\n"), IN_HELPER),
    Edit("function that pandas applies", "function", "import pandas as pd\ndef g(row): return row['a'] + 1\ndef f(x): return pd.DataFrame({'a': [x]}).apply(g, axis=1).tolist()\n", [("+ 1", "+ 2")]),
    Edit("functions called through each other", "function", "def even(n): return True if n == 0 else odd(n - 1)\ndef odd(n): return False if n == 0 else even(n - 1)\ndef f(x): return even(x)\n", [("False if n", "None if n")]),
]

DECORATOR = [
    Edit("middle of three wrappers", "decorator", "import functools\ndef d(k):\n    def outer(fn):\n        @functools.wraps(fn)\n        def w(x): return fn(x) * k\n        return w\n    return outer\n@d(2)\n@d(5)\n@d(7)\ndef g(x): return x\ndef f(x): return g(x)\n", [("d(5)", "d(6)")]),
    Edit("wrapper that never calls what it wraps", "decorator", "import functools\ndef d(fn):\n    @functools.wraps(fn)\n    def w(x): return 1\n    return w\n@d\ndef f(x): return x\n", [("return 1", "return 2")]),
    Edit("decorator class with update_wrapper", "decorator", "import functools\nclass D:\n    def __init__(self, fn):\n        self._fn = fn\n        functools.update_wrapper(self, fn)\n    def __call__(self, x): return self._fn(x) + 1\n@D\ndef f(x): return x\n", [("(x) + 1", "(x) + 2")]),
    Edit("function that a decorator class keeps privately", "decorator", "class D:\n    def __init__(self, fn): self._fn = fn\n    def __call__(self, x): return self._fn(x)\n@D\ndef g(x): return x + 1\ndef f(x): return g(x)\n", ONE),
    Edit("decorator class with slots", "decorator", "class D:\n    __slots__ = ('_fn', '_k')\n    def __init__(self, fn, k=1): self._fn = fn; self._k = k\n    def __call__(self, x): return self._fn(x) + self._k\ng = D(abs, 1)\ndef f(x): return g(x)\n", [("abs, 1", "abs, 2")]),
    Edit("decorator class that binds like a method", "decorator", """
        import types
        class D:
            def __init__(self, fn): self._fn = fn
            def __get__(self, obj, owner): return types.MethodType(self, obj)
            def __call__(self, obj, x): return self._fn(obj, x) + 1
        class A:
            @D
            def go(self, x): return x
        def f(x): return A().go(x)
        """, [("x) + 1", "x) + 2")]),
    Edit("decorator with optional arguments", "decorator", """
        import functools
        def d(fn=None, *, k=1):
            if fn is None: return functools.partial(d, k=k)
            @functools.wraps(fn)
            def w(x): return fn(x) + k
            return w
        @d(k=1)
        def g(x): return x
        def f(x): return g(x)
        """, [("@d(k=1)", "@d(k=2)")]),
    Edit("partial method", "decorator", "import functools\nclass A:\n    def go(self, x, k): return x + k\n    one = functools.partialmethod(go, k=1)\ndef f(x): return A().one(x)\n", [("k=1", "k=2")]),
    Edit("subclass of cached_property", "decorator", "import functools\nclass P(functools.cached_property):\n    def __get__(self, obj, owner=None): return super().__get__(obj, owner) + 1\nclass A:\n    @P\n    def k(self): return 1\ndef f(x): return A().k + x\n", [("owner) + 1", "owner) + 2")]),
    Edit("descriptor that is told its name", "decorator", "class D:\n    def __set_name__(self, owner, name): self._name = name + 'a'\n    def __get__(self, obj, owner): return self._name\nclass A:\n    k = D()\ndef f(x): return A().k\n", [("+ 'a'", "+ 'z'")]),
    Edit("class decorator that adds a method", "decorator", "def d(cls):\n    cls.go = lambda self, x: x + 1\n    return cls\n@d\nclass A: pass\ndef f(x): return A().go(x)\n", ONE),
    Edit("class decorator that wraps the constructor", "decorator", "def d(cls):\n    init = cls.__init__\n    def wrapped(self, k): init(self, k + 1)\n    cls.__init__ = wrapped\n    return cls\n@d\nclass A:\n    def __init__(self, k): self.k = k\ndef f(x): return A(x).k\n", [("k + 1", "k + 2")]),
    Edit("class decorator that returns a subclass", "decorator", "def d(cls):\n    class Sub(cls):\n        def go(self, x): return super().go(x) + 1\n    return Sub\n@d\nclass A:\n    def go(self, x): return x\ndef f(x): return A().go(x)\n", [("(x) + 1", "(x) + 2")]),
    Edit("context manager as a decorator", "decorator", "import contextlib\nSTATE = []\nclass C(contextlib.ContextDecorator):\n    def __init__(self, k): self._k = k\n    def __enter__(self): return self\n    def __exit__(self, kind, error, trace): return self._k\n@C(True)\ndef g(x): raise ValueError\ndef f(x):\n    try: return g(x)\n    except ValueError: return 'raised'\n", [("C(True)", "C(False)")]),
    Edit("callbacks on a stack of contexts", "decorator", by_helper("import contextlib, helper\ndef f(x):\n    out = []\n    with contextlib.ExitStack() as stack: stack.callback(lambda: out.append(helper.g(x)))\n    return out\n"), IN_HELPER),
    Edit("comparisons that are filled in", "decorator", "import functools\n@functools.total_ordering\nclass A:\n    def __init__(self, k): self.k = k\n    def __eq__(self, o): return self.k == o.k\n    def __lt__(self, o): return self.k < o.k\ndef f(x): return A(x) >= A(4)\n", [("self.k < o.k", "self.k > o.k")]),
    Edit("property made by a factory", "decorator", "def scaled(name, k): return property(lambda self: self.__dict__[name] * k)\nclass A:\n    v = scaled('w', 2)\n    def __init__(self): self.w = 3\ndef f(x): return A().v\n", [("'w', 2", "'w', 4")]),
    Edit("setter of a property", "decorator", "class A:\n    @property\n    def k(self): return self._k\n    @k.setter\n    def k(self, value): self._k = value + 1\ndef f(x):\n    a = A()\n    a.k = x\n    return a.k\n", [("value + 1", "value + 2")]),
    Edit("memoised method", "decorator", "import functools\nclass A:\n    @functools.cache\n    def go(self, x): return x + 1\na = A()\ndef f(x): return a.go(x)\n", ONE),
    Edit("decorator beneath memoisation", "decorator", "import functools\ndef d(k):\n    def outer(fn):\n        @functools.wraps(fn)\n        def w(x): return fn(x) + k\n        return w\n    return outer\n@functools.lru_cache(maxsize=8)\n@d(1)\ndef g(x): return x\ndef f(x): return g(x)\n", [("@d(1)", "@d(2)")]),
    Edit("whether memoisation tells types apart", "decorator", "import functools\n@functools.lru_cache(typed=False)\ndef g(v, w): return type(v).__name__\ndef f(x):\n    g.cache_clear()\n    return g(1, 2), g(1.0, 2)\n", [("typed=False", "typed=True")]),
    Edit("result that retries give in the end", "decorator", "import tenacity\ndef last(state): return 'gave up'\n@tenacity.retry(stop=tenacity.stop_after_attempt(2), retry_error_callback=last)\ndef g(x): raise ValueError\ndef f(x): return g(x)\n", [("'gave up'", "'lost'")]),
    Edit("when something is tried again", "decorator", "import tenacity\n@tenacity.retry(stop=tenacity.stop_after_attempt(3), retry=tenacity.retry_if_result(lambda v: v < 2), retry_error_callback=lambda s: 'gave up')\ndef g(x): return x\ndef f(x): return g(x)\n", [("v < 2", "v < 5")]),
    Edit("descriptor of a wrapt subclass", "decorator", "import wrapt\nclass W(wrapt.FunctionWrapper):\n    def __call__(self, *args, **kwargs): return super().__call__(*args, **kwargs) + 1\ndef plain(wrapped, instance, args, kwargs): return wrapped(*args, **kwargs)\ndef g(x): return x\ng = W(g, plain)\ndef f(x): return g(x)\n", [("**kwargs) + 1", "**kwargs) + 2")], needs="wrapt"),
    Edit("attribute that a wrapt subclass keeps", "decorator", "import wrapt\nclass W(wrapt.ObjectProxy):\n    def __init__(self, wrapped, k):\n        super().__init__(wrapped)\n        self._self_k = k\n    def __call__(self, x): return self.__wrapped__(x) + self._self_k\ng = W(abs, 1)\ndef f(x): return g(x)\n", [("abs, 1", "abs, 2")], needs="wrapt"),
    Edit("what wrapt patches", "decorator", {**HELPER, "patch.py": "import wrapt\n@wrapt.patch_function_wrapper('helper', 'g')\ndef patched(wrapped, instance, args, kwargs): return wrapped(*args, **kwargs) * 2\n", "nodes.py": "import patch, helper\ndef f(x): return helper.g(x)\n"}, [("patch.py", "* 2", "* 3")], needs="wrapt"),
    Edit("argument of a wrapt decorator", "decorator", "import wrapt\ndef d(k):\n    @wrapt.decorator\n    def w(wrapped, instance, args, kwargs): return wrapped(*args, **kwargs) + k\n    return w\n@d(1)\ndef g(x): return x\ndef f(x): return g(x)\n", [("@d(1)", "@d(2)")], needs="wrapt"),
    Edit("curried function", "decorator", "import toolz\n@toolz.curry\ndef g(k, x): return x + k\nadd = g(1)\ndef f(x): return add(x)\n", [("g(1)", "g(2)")], needs="toolz"),
    Edit("steps of a toolz pipe", "decorator", by_helper("import toolz, helper\nSTEPS = [helper.g, str]\ndef f(x): return toolz.pipe(x, *STEPS)\n"), IN_HELPER, needs="toolz"),
    Edit("functions side by side in toolz", "decorator", "import toolz\ng = toolz.juxt(lambda v: v + 1, str)\ndef f(x): return g(x)\n", [("v + 1", "v + 2")], needs="toolz"),
    Edit("memoised by toolz", "decorator", "import toolz\n@toolz.memoize\ndef g(x): return x + 1\ndef f(x): return g(x)\n", ONE, needs="toolz"),
    Edit("helper behind a vectorized function", "decorator", by_helper("import numpy as np, helper\n@np.vectorize\ndef h(v): return helper.g(v)\ndef f(x): return h([x]).tolist()\n"), IN_HELPER),
    Edit("helper behind a ufunc of one's own", "decorator", by_helper("import numpy as np, helper\nh = np.frompyfunc(helper.g, 1, 1)\ndef f(x): return h([x]).tolist()\n"), IN_HELPER),
    Edit("compiled function that another one calls", "decorator", "import numba\n@numba.njit\ndef h(x): return x + 1\n@numba.njit\ndef g(x): return h(x)\ndef f(x): return g(x)\n", ONE, needs="numba"),
    Edit("type that a compiled function is for", "decorator", "import numba\n@numba.vectorize(['float64(float64)'])\ndef g(x): return x + 0.5\ndef f(x): return str(g(x))\n", [("'float64(float64)'", "'int64(float64)'")], needs="numba"),
    Edit("decorator beneath @node", "decorator", "import functools\nfrom hypernodes import node\ndef d(fn):\n    @functools.wraps(fn)\n    def w(x): return fn(x) + 1\n    return w\n@node(output_name='out')\n@d\ndef f(x): return x\nNODES = [f]\n", [("(x) + 1", "(x) + 2")]),
    Edit("decorator that looks at hints", "decorator", "import functools\ndef cast(fn):\n    kind = fn.__annotations__['x']\n    @functools.wraps(fn)\n    def w(x): return kind(fn(x))\n    return w\n@cast\ndef f(x: int): return x\n", [("x: int", "x: float")]),
    Edit("property of a class that is cached by hand", "decorator", "class classproperty:\n    def __init__(self, fget): self._get = fget\n    def __get__(self, obj, owner): return self._get(owner)\nclass A:\n    @classproperty\n    def k(cls): return 1\ndef f(x): return A.k + x\n", [("return 1", "return 2")]),
]

CLASS = [
    Edit("__getattr__ of a class", "class", "class A:\n    def __getattr__(self, name): return name + '1'\na = A()\ndef f(x): return a.colour\n", [("'1'", "'2'")]),
    Edit("__getattribute__ of a class", "class", "class A:\n    k = 1\n    def __getattribute__(self, name): return object.__getattribute__(self, name) + 1\ndef f(x): return A().k\n", [(") + 1", ") + 2")]),
    Edit("__init_subclass__ that sets an attribute", "class", "class B:\n    def __init_subclass__(cls): cls.k = 1\nclass A(B): pass\ndef f(x): return A.k + x\n", [("k = 1", "k = 2")]),
    Edit("attribute of the metaclass", "class", "class M(type):\n    k = 1\nclass A(metaclass=M): pass\ndef f(x): return A.k + x\n", [("k = 1", "k = 2")]),
    Edit("property of the metaclass", "class", "class M(type):\n    @property\n    def k(cls): return 1\nclass A(metaclass=M): pass\ndef f(x): return A.k + x\n", [("return 1", "return 2")]),
    Edit("operator of the metaclass", "class", "class M(type):\n    def __add__(cls, x): return x + 1\nclass A(metaclass=M): pass\ndef f(x): return A + x\n", ONE),
    Edit("length of a class", "class", "class M(type):\n    def __len__(cls): return 1\nclass A(metaclass=M): pass\ndef f(x): return len(A)\n", [("return 1", "return 2")]),
    Edit("default method of a protocol", "class", "from typing import Protocol\nclass P(Protocol):\n    def go(self, x): return x + 1\nclass A(P): pass\ndef f(x): return A().go(x)\n", ONE),
    Edit("method of an abstract class elsewhere", "class", {"base.py": "import abc\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def low(self, x): ...\n    def go(self, x): return self.low(x) + 1\n", "nodes.py": "from base import B\nclass A(B):\n    def low(self, x): return x\na = A()\ndef f(x): return a.go(x)\n"}, [("base.py", "(x) + 1", "(x) + 2")]),
    Edit("operator of a class", "class", "class A:\n    def __init__(self, k): self.k = k\n    def __add__(self, o): return self.k + o.k + 1\ndef f(x): return A(x) + A(1)\n", [("o.k + 1", "o.k + 2")]),
    Edit("reflected operator of a constant", "class", "class A:\n    def __radd__(self, x): return x + 1\na = A()\ndef f(x): return x + a\n", ONE),
    Edit("truth of a constant", "class", "class A:\n    def __bool__(self): return True\na = A()\ndef f(x): return 'yes' if a else 'no'\n", [("True", "False")]),
    Edit("order among objects that are sorted", "class", "class A:\n    def __init__(self, k): self.k = k\n    def __lt__(self, o): return self.k < o.k\ndef f(x): return [a.k for a in sorted([A(x), A(1)])]\n", [("self.k < o.k", "self.k > o.k")]),
    Edit("equality in a set", "class", "class A:\n    def __init__(self, k): self.k = k\n    def __eq__(self, o): return self.k % 2 == o.k % 2\n    def __hash__(self): return 1\ndef f(x): return len({A(1), A(x)})\n", [("self.k % 2 == o.k % 2", "self.k == o.k")]),
    Edit("items of a container of one's own", "class", "class A:\n    def __len__(self): return 2\n    def __getitem__(self, i):\n        if i > 1: raise IndexError\n        return i + 1\na = A()\ndef f(x): return list(a)\n", [("i + 1", "i + 2")]),
    Edit("iteration of a constant", "class", "class A:\n    def __iter__(self): return iter([1])\na = A()\ndef f(x): return [*a, x]\n", [("[1]", "[2]")]),
    Edit("text of an object in an f-string", "class", "class A:\n    def __format__(self, spec): return '1' + spec\na = A()\ndef f(x): return f'{a:q}'\n", [("'1'", "'2'")]),
    Edit("representation of an object", "class", "class A:\n    def __repr__(self): return 'A1'\na = A()\ndef f(x): return [repr(a), f'{a!r}', '%r' % a]\n", [("A1", "A2")]),
    Edit("index that an object stands for", "class", "class A:\n    def __index__(self): return 1\na = A()\ndef f(x): return [x, 5, 7][a]\n", [("return 1", "return 2")]),
    Edit("__new__ of a class", "class", "class A:\n    def __new__(cls, k): return k + 1\ndef f(x): return A(x)\n", [("k + 1", "k + 2")]),
    Edit("array that an object makes", "class", "import numpy as np\nclass A:\n    def __array__(self, dtype=None, copy=None): return np.array([1])\na = A()\ndef f(x): return np.asarray(a).tolist()\n", [("[1]", "[2]")]),
    Edit("attribute with a mangled name", "class", "class A:\n    def __init__(self, k): self.__k = k\n    def go(self): return self.__k\na = A(1)\ndef f(x): return a.go()\n", [("A(1)", "A(2)")]),
    Edit("private attribute of a class", "class", "class A:\n    _k = 1\n    def go(self, x): return self._k + x\ndef f(x): return A().go(x)\n", [("_k = 1", "_k = 2")]),
    Edit("private slot of a constant", "class", "class A:\n    __slots__ = ('_k',)\n    def __init__(self, k): self._k = k\n    def go(self): return self._k\na = A(1)\ndef f(x): return a.go()\n", [("A(1)", "A(2)")]),
    Edit("private slot of a base class", "class", "class B:\n    __slots__ = ('_k',)\nclass A(B):\n    __slots__ = ('j',)\n    def __init__(self, k): self._k = k; self.j = 0\na = A(1)\ndef f(x): return a._k + x\n", [("A(1)", "A(2)")]),
    Edit("class attribute set by another module", "class", {"model.py": "class A:\n    k = 0\n", "setter.py": "import model\nmodel.A.k = 1\n", "nodes.py": "import setter\nfrom model import A\ndef f(x): return A.k + x\n"}, [("setter.py", "= 1", "= 2")]),
    Edit("method put on a class from outside", "class", "class A: pass\ndef go(self, x): return x + 1\nA.go = go\ndef f(x): return A().go(x)\n", ONE),
    Edit("method put on an object", "class", "import types\nclass A: pass\na = A()\na.go = types.MethodType(lambda self, x: x + 1, a)\ndef f(x): return a.go(x)\n", ONE),
    Edit("class made in a function", "class", "def make(k):\n    class A:\n        def go(self, x): return x + k\n    return A\nA = make(1)\ndef f(x): return A().go(x)\n", [("make(1)", "make(2)")]),
    Edit("object in a class attribute, private", "class", "class S:\n    def __init__(self, k): self._k = k\nclass A:\n    _s = S(1)\n    def go(self): return self._s._k\ndef f(x): return A().go()\n", [("S(1)", "S(2)")]),
    Edit("only object of its class", "class", "class A:\n    _one = None\n    def __new__(cls):\n        if cls._one is None:\n            cls._one = super().__new__(cls)\n            cls._one.k = 1\n        return cls._one\ndef f(x): return A().k + x\n", [("k = 1", "k = 2")]),
    Edit("number that is missing from a dict", "class", "class D(dict):\n    def __missing__(self, key): return key + 1\nd = D()\ndef f(x): return d[x]\n", [("key + 1", "key + 2")]),
    Edit("method of a text's subclass", "class", "class S(str):\n    def shout(self): return self.upper() + '!'\ns = S('a')\ndef f(x): return s.shout()\n", [("'!'", "'?'")]),
    Edit("method of a number's subclass in a tuple", "class", "class N(int):\n    def up(self): return self + 1\nNS = (N(1), N(2))\ndef f(x): return [n.up() for n in NS]\n", [("self + 1", "self + 2")]),
    Edit("attribute of a list's subclass", "class", "class L(list): pass\nl = L([1])\nl._unit = 'm'\ndef f(x): return l._unit\n", [("'m'", "'km'")]),
    Edit("method of an exception of one's own", "class", "class Bad(Exception):\n    def __str__(self): return 'bad 1'\ndef f(x):\n    try: raise Bad(x)\n    except Bad as e: return str(e)\n", [("bad 1", "bad 2")]),
    Edit("exception kept as a constant", "class", "class Bad(Exception):\n    def advice(self): return 'a'\nE = Bad('x')\ndef f(x): return E.advice()\n", [("'a'", "'b'")]),
    Edit("method of a duration's subclass", "class", "import datetime\nclass D(datetime.timedelta):\n    def hours(self): return self.days * 24\nd = D(days=1)\ndef f(x): return d.hours()\n", [("* 24", "* 25")]),
    Edit("method of a fraction's subclass", "class", "from fractions import Fraction\nclass F(Fraction):\n    def show(self): return f'{self.numerator}:{self.denominator}'\nr = F(1, 2)\ndef f(x): return r.show()\n", [("}:{", "}/{")]),
    Edit("method of a UserDict", "class", "from collections import UserDict\nclass D(UserDict):\n    def __getitem__(self, key): return self.data[key] + 1\nd = D({'a': 1})\ndef f(x): return d['a']\n", [("] + 1", "] + 2")]),
    Edit("method of an array's subclass", "class", "import numpy as np\nclass A(np.ndarray):\n    def twice(self): return (self * 2).tolist()\na = np.arange(2).view(A)\ndef f(x): return a.twice()\n", [("* 2", "* 3")]),
    Edit("method of a frame's subclass", "class", "import pandas as pd\nclass T(pd.DataFrame):\n    @property\n    def _constructor(self): return T\n    def total(self): return int(self['a'].sum()) + 1\nt = T({'a': [1]})\ndef f(x): return t.total()\n", [(") + 1", ") + 2")]),
    Edit("parser of HTML of one's own", "class", "from html.parser import HTMLParser\nclass P(HTMLParser):\n    got = ''\n    def handle_data(self, data): self.got += data + '.'\ndef f(x):\n    p = P()\n    p.feed('<b>a</b>c')\n    p.close()\n    return p.got\n", [("+ '.'", "+ ';'")]),
    Edit("template with a delimiter of its own", "class", "import string\nclass T(string.Template):\n    delimiter = '%'\ndef f(x): return T('%a $a').substitute(a=1) if T.delimiter == '%' else T('$a').substitute(a=x)\n", [("delimiter = '%'", "delimiter = '$'")]),
    Edit("mixin before or after a class", "class", "class Loud:\n    def go(self): return 'loud ' + super().go()\nclass Base:\n    def go(self): return 'base'\nclass Quiet:\n    def go(self): return 'quiet ' + super().go()\nclass A(Loud, Quiet, Base): pass\ndef f(x): return A().go()\n", [("(Loud, Quiet, Base)", "(Quiet, Loud, Base)")]),
    Edit("argument of a metaclass's preparation", "class", "class M(type):\n    @classmethod\n    def __prepare__(mcs, name, bases, **kw): return {'k': kw.get('k')}\n    def __new__(mcs, name, bases, space, **kw): return super().__new__(mcs, name, bases, space)\n    def __init__(cls, name, bases, space, **kw): super().__init__(name, bases, space)\nclass A(metaclass=M, k=1): pass\ndef f(x): return A.k + x\n", [("k=1", "k=2")]),
    Edit("generic class with a default", "class", "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Box(Generic[T]):\n    k = 1\n    def go(self, x: T): return self.k + x\ndef f(x): return Box[int]().go(x)\n", [("k = 1", "k = 2")]),
    Edit("argument of a generic class that is read", "class", "from typing import Generic, TypeVar, get_args\nT = TypeVar('T')\nclass Box(Generic[T]): pass\nclass A(Box[int]): pass\ndef f(x): return get_args(A.__orig_bases__[0])[0](x)\n", [("Box[int]", "Box[float]")]),
    Edit("module that a class says it is of", "class", "class A: k = 1\nA.__qualname__ = 'B'\ndef f(x): return A.__qualname__\n", [("'B'", "'C'")]),
    Edit("what an object says when it is pickled", "class", "import copy\nclass A:\n    def __init__(self, k): self.k = k\n    def __getstate__(self): return {'k': self.k + 1}\ndef f(x): return copy.copy(A(x)).k\n", [("self.k + 1", "self.k + 2")]),
    Edit("descriptor that checks what is set", "class", "class Between:\n    def __init__(self, low, high): self._low, self._high = low, high\n    def __set_name__(self, owner, name): self._name = '_' + name\n    def __get__(self, obj, owner=None): return getattr(obj, self._name)\n    def __set__(self, obj, value): setattr(obj, self._name, max(self._low, min(self._high, value)))\nclass A:\n    v = Between(0, 2)\ndef f(x):\n    a = A()\n    a.v = x\n    return a.v\n", [("Between(0, 2)", "Between(0, 1)")]),
    Edit("class in a class", "class", "class A:\n    class Meta:\n        order = 'up'\n    @classmethod\n    def go(cls): return cls.Meta.order\ndef f(x): return A.go()\n", [("'up'", "'down'")]),
]

SCHEMA = [
    Edit("__post_init__ of a dataclass", "schema", "from dataclasses import dataclass\n@dataclass\nclass A:\n    k: int\n    def __post_init__(self): self.k += 1\ndef f(x): return A(x).k\n", [("+= 1", "+= 2")]),
    Edit("variable that only __post_init__ gets", "schema", "from dataclasses import InitVar, dataclass\n@dataclass\nclass A:\n    k: int = 0\n    by: InitVar[int] = 1\n    def __post_init__(self, by): self.k += by\ndef f(x): return A(x).k\n", [("= 1\n", "= 2\n")]),
    Edit("fields by keyword only", "schema", "from dataclasses import KW_ONLY, dataclass\n@dataclass\nclass A:\n    a: int = 0\n    _: KW_ONLY\n    b: int = 0\ndef f(x): return A.__match_args__\n", [("    _: KW_ONLY\n", "")]),
    Edit("dataclass that has an order or not", "schema", "from dataclasses import dataclass\n@dataclass(order=True)\nclass A:\n    k: int\ndef f(x):\n    try: return A(x) < A(5)\n    except TypeError: return 'no order'\n", [("order=True", "order=False")]),
    Edit("dataclass that is frozen or not", "schema", "from dataclasses import FrozenInstanceError, dataclass\n@dataclass(frozen=True)\nclass A:\n    k: int\ndef f(x):\n    a = A(x)\n    try: a.k = 9\n    except FrozenInstanceError: pass\n    return a.k\n", [("frozen=True", "frozen=False")]),
    Edit("field that is shown or not", "schema", "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    k: int = field(default=1, repr=True)\ndef f(x): return str(A())\n", [("repr=True", "repr=False")]),
    Edit("field that is compared or not", "schema", "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    k: int = field(default=1, compare=True)\ndef f(x): return A(1) == A(x)\n", [("compare=True", "compare=False")]),
    Edit("order of a dataclass's fields", "schema", "from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int = 0\n    b: int = 0\ndef f(x): return A(x, 1).a\n", [("    a: int = 0\n    b: int = 0\n", "    b: int = 0\n    a: int = 0\n")]),
    Edit("field of a dataclass's base elsewhere", "schema", {"base.py": "from dataclasses import dataclass\n@dataclass\nclass B:\n    a: int = 1\n", "nodes.py": "from dataclasses import dataclass\nfrom base import B\n@dataclass\nclass A(B):\n    b: int = 0\ndef f(x): return A().a + x\n"}, [("base.py", "= 1", "= 2")]),
    Edit("nested frozen dataclasses as a constant", "schema", "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass Db:\n    _port: int = 1\n@dataclass(frozen=True)\nclass Settings:\n    db: Db = field(default_factory=Db)\nS = Settings(Db(1))\ndef f(x): return S.db._port + x\n", [("Db(1)", "Db(2)")]),
    Edit("dataclass made by a call", "schema", "from dataclasses import field, make_dataclass\nA = make_dataclass('A', [('k', int, field(default=1))])\ndef f(x): return A().k + x\n", [("default=1", "default=2")]),
    Edit("fields of a named tuple", "schema", "from collections import namedtuple\nP = namedtuple('P', 'a b')\ndef f(x): return P(x, 1)._asdict()\n", [("'a b'", "'a c'")]),
    Edit("method of a named tuple's subclass", "schema", "from collections import namedtuple\nclass P(namedtuple('P', 'a b')):\n    __slots__ = ()\n    def total(self): return self.a + self.b + 1\np = P(1, 2)\ndef f(x): return p.total()\n", [("self.b + 1", "self.b + 2")]),
    Edit("values that an enum makes itself", "schema", "import enum\nclass C(enum.Enum):\n    A = enum.auto()\n    B = enum.auto()\ndef f(x): return C.B.value\n", [("    A =", "    Z = enum.auto()\n    A =")]),
    Edit("how an enum makes its values", "schema", "import enum\nclass C(enum.Enum):\n    def _generate_next_value_(name, start, count, last): return name + '1'\n    A = enum.auto()\ndef f(x): return C.A.value\n", [("'1'", "'2'")]),
    Edit("what an enum does with an unknown value", "schema", "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 2\n    @classmethod\n    def _missing_(cls, value): return cls.A\ndef f(x): return C(x).name\n", [("cls.A", "cls.B")]),
    Edit("flags", "schema", "import enum\nclass P(enum.Flag):\n    R = 1\n    W = 2\n    RW = R | W\nBOTH = P.RW\ndef f(x): return BOTH.value\n", [("W = 2", "W = 4")]),
    Edit("text of an enum's member", "schema", "import enum\nclass C(str, enum.Enum):\n    A = 'a'\n    def __str__(self): return self.value + '1'\ndef f(x): return f'{C.A}' + str(C.A)\n", [("'1'", "'2'")]),
    Edit("attributes that an enum's constructor sets", "schema", "import enum\nclass C(enum.Enum):\n    A = (1, 2)\n    def __init__(self, a, b): self._sum = a + b\n    @property\n    def total(self): return self._sum\nMEMBER = C.A\ndef f(x): return MEMBER.total\n", [("a + b", "a * b")]),
    Edit("order of an enum's members", "schema", "import enum\nclass C(enum.Enum):\n    A = 'a'\n    B = 'b'\ndef f(x): return [c.name for c in C]\n", [("    A = 'a'\n    B = 'b'\n", "    B = 'b'\n    A = 'a'\n")]),
    Edit("method of an enum's member in a table", "schema", "import enum\nclass C(enum.Enum):\n    A = 1\n    def go(self, x): return x + 1\nBY = {'a': C.A}\ndef f(x): return BY['a'].go(x)\n", ONE),
    Edit("validator of a whole pydantic model", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\n    @pydantic.model_validator(mode='after')\n    def check(self):\n        self.__dict__['a'] += 1\n        return self\ndef f(x): return M(a=x).a\n", [("+= 1", "+= 2")]),
    Edit("mode of a whole model's validator", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\n    @pydantic.model_validator(mode='before')\n    @classmethod\n    def check(cls, data): return {'a': data['a'] + 1}\ndef f(x): return M(a=x).a\n", [("+ 1", "+ 2")]),
    Edit("computed field", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\n    @pydantic.computed_field\n    @property\n    def b(self) -> int: return self.a + 1\ndef f(x): return M(a=x).model_dump()\n", [("self.a + 1", "self.a + 2")]),
    Edit("alias of a pydantic field", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = pydantic.Field(1, alias='z')\ndef f(x): return M(z=x).a\n", [("alias='z'", "alias='y'")]),
    Edit("bound of a pydantic field", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = pydantic.Field(gt=2)\ndef f(x):\n    try: return M(a=x).a\n    except pydantic.ValidationError: return 'bad'\n", [("gt=2", "gt=3")]),
    Edit("validator in an annotation", "schema", "import pydantic\nfrom typing import Annotated\ndef up(v): return v + 1\nclass M(pydantic.BaseModel):\n    a: Annotated[int, pydantic.AfterValidator(up)]\ndef f(x): return M(a=x).a\n", [("v + 1", "v + 2")]),
    Edit("lambda in an annotation of a pydantic field", "schema", "import pydantic\nfrom typing import Annotated\nclass M(pydantic.BaseModel):\n    a: Annotated[int, pydantic.BeforeValidator(lambda v: v + 1)]\ndef f(x): return M(a=x).a\n", [("v + 1", "v + 2")]),
    Edit("serializer in an annotation", "schema", "import pydantic\nfrom typing import Annotated\nclass M(pydantic.BaseModel):\n    a: Annotated[int, pydantic.PlainSerializer(lambda v: v + 1)]\ndef f(x): return M(a=x).model_dump()\n", [("v + 1", "v + 2")]),
    Edit("what a pydantic model does after it is made", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\n    _b: int = 0\n    def model_post_init(self, context): self._b = self.a + 1\ndef f(x): return M(a=x)._b\n", [("self.a + 1", "self.a + 2")]),
    Edit("default factory of a pydantic field", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: list = pydantic.Field(default_factory=lambda: [1])\ndef f(x): return M().a\n", [("[1]", "[2]")]),
    Edit("adapter of a type", "schema", "import pydantic\nT = pydantic.TypeAdapter(list[int])\ndef f(x): return T.validate_python(['3'])\n", [("list[int]", "list[str]")]),
    Edit("base of a pydantic model elsewhere", "schema", {"base.py": "import pydantic\nclass B(pydantic.BaseModel):\n    model_config = pydantic.ConfigDict(str_to_upper=False)\n", "nodes.py": "from base import B\nclass M(B):\n    a: str\ndef f(x): return M(a='q').a\n"}, [("base.py", "False", "True")]),
    Edit("type of a pydantic field", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\ndef f(x): return M(a=x).a\n", [("a: int", "a: float")]),
    Edit("order of a pydantic model's fields", "schema", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = 1\n    b: int = 1\ndef f(x): return list(M().model_dump())\n", [("    a: int = 1\n    b: int = 1\n", "    b: int = 1\n    a: int = 1\n")]),
    Edit("pydantic model made by a call", "schema", "import pydantic\nM = pydantic.create_model('M', a=(int, 1))\ndef f(x): return M().a + x\n", [("(int, 1)", "(int, 2)")]),
    Edit("model within a model's field", "schema", "import pydantic\nclass In(pydantic.BaseModel):\n    k: int = 1\nclass Out(pydantic.BaseModel):\n    inner: In = In()\ndef f(x): return Out().inner.k\n", [("k: int = 1", "k: int = 2")]),
    Edit("model that a hint in quotes names", "schema", "from __future__ import annotations\nimport pydantic\nclass In(pydantic.BaseModel):\n    k: int = 1\nclass Out(pydantic.BaseModel):\n    inner: In\ndef f(x): return Out(inner={}).inner.k\n", [("k: int = 1", "k: int = 2")]),
    Edit("pydantic dataclass", "schema", "from pydantic.dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\ndef f(x): return A('3').a\n", [("a: int", "a: str")]),
    Edit("validator of an attrs field", "schema", "import attrs\n@attrs.define\nclass A:\n    a: int = attrs.field(validator=attrs.validators.gt(2))\ndef f(x):\n    try: return A(x).a\n    except ValueError: return 'bad'\n", [("gt(2)", "gt(3)")], needs="attrs"),
    Edit("validator of attrs by decorator", "schema", "import attrs\n@attrs.define\nclass A:\n    a: int = attrs.field()\n    @a.validator\n    def _check(self, attribute, value):\n        if value > 5: raise ValueError\ndef f(x):\n    try: return A(x).a\n    except ValueError: return 'bad'\n", [("> 5", "> 2")], needs="attrs"),
    Edit("default of attrs by decorator", "schema", "import attrs\n@attrs.define\nclass A:\n    a: int = attrs.field()\n    @a.default\n    def _first(self): return 1\ndef f(x): return A().a + x\n", [("return 1", "return 2")], needs="attrs"),
    Edit("what attrs does after an object is made", "schema", "import attrs\n@attrs.define\nclass A:\n    a: int\n    def __attrs_post_init__(self): self.a += 1\ndef f(x): return A(x).a\n", [("+= 1", "+= 2")], needs="attrs"),
    Edit("private field of an attrs constant", "schema", "import attrs\n@attrs.define\nclass A:\n    _a: int\n    def go(self): return self._a\na = A(1)\ndef f(x): return a.go()\n", [("A(1)", "A(2)")], needs="attrs"),
    Edit("keys that may be left out of a typed dict", "schema", "from typing_extensions import NotRequired, Required, TypedDict\nclass T(TypedDict):\n    a: Required[int]\ndef f(x): return sorted(T.__required_keys__)\n", [("a: Required[int]", "a: NotRequired[int]")], needs="typing_extensions"),
    Edit("types of a named tuple, read", "schema", "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\ndef f(x): return {k: v(x) for k, v in P.__annotations__.items()}\n", [("a: int", "a: float")]),
    Edit("cast by the types of a dataclass's fields", "schema", "import dataclasses\n@dataclasses.dataclass\nclass A:\n    a: int\ndef load(cls, data): return cls(**{each.name: each.type(data[each.name]) for each in dataclasses.fields(cls)})\ndef f(x): return load(A, {'a': x}).a\n", [("a: int", "a: float")]),
    Edit("how a msgspec struct names its fields", "schema", "import msgspec\nclass S(msgspec.Struct, rename='lower'):\n    aB: int\ndef f(x): return msgspec.json.encode(S(x))\n", [("'lower'", "'upper'")], needs="msgspec"),
    Edit("tag of a msgspec struct", "schema", "import msgspec\nclass S(msgspec.Struct, tag='a'):\n    k: int\ndef f(x): return msgspec.json.encode(S(x))\n", [("'a'", "'b'")], needs="msgspec"),
    Edit("bound in a msgspec annotation", "schema", "import msgspec\nfrom typing import Annotated\nclass S(msgspec.Struct):\n    a: Annotated[int, msgspec.Meta(gt=2)]\ndef f(x):\n    try: return msgspec.convert({'a': x}, S).a\n    except msgspec.ValidationError: return 'bad'\n", [("gt=2", "gt=3")], needs="msgspec"),
    Edit("hook of a converter", "schema", "import cattrs\nC = cattrs.Converter()\nC.register_structure_hook(int, lambda v, t: v + 1)\ndef f(x): return C.structure(x, int)\n", [("v + 1", "v + 2")], needs="cattrs"),
    Edit("metadata of an annotation, read", "schema", "from typing import Annotated, get_type_hints\ndef g(a: Annotated[int, 'm']): pass\ndef f(x): return get_type_hints(g, include_extras=True)['a'].__metadata__\n", [("'m'", "'km'")]),
]

TEXT = [
    Edit("docstring by inspect", "text", "import inspect\ndef g():\n    'say A'\ndef f(x): return inspect.getdoc(g)\n", [("say A", "say B")]),
    Edit("docstring of a method", "text", "class A:\n    def go(self):\n        'say A'\ndef f(x): return A.go.__doc__\n", [("say A", "say B")]),
    Edit("docstring read by a helper", "text", "def g():\n    'say A'\ndef prompt(fn): return fn.__doc__.strip()\ndef f(x): return prompt(g)\n", [("say A", "say B")]),
    Edit("docstring kept by a decorator", "text", "TOOLS = {}\ndef tool(fn):\n    TOOLS[fn.__name__] = fn.__doc__\n    return fn\n@tool\ndef g():\n    'say A'\ndef f(x): return TOOLS['g']\n", [("say A", "say B")]),
    Edit("docstring of another module", "text", {"helper.py": "'say A'\n", "nodes.py": "import helper\ndef f(x): return helper.__doc__\n"}, [("helper.py", "say A", "say B")]),
    Edit("docstring of the node's own function", "text", "def f(x):\n    'say A'\n    return f.__doc__\n", [("say A", "say B")]),
    Edit("docstring under -OO", "text", "def g():\n    'say A'\ndef f(x): return g.__doc__\n", after={"PYTHONOPTIMIZE": "2"}),
    Edit("docstring of an object's class", "text", "class A:\n    'say A'\na = A()\ndef f(x): return type(a).__doc__\n", [("say A", "say B")]),
    Edit("docstrings of a table of functions", "text", "def g():\n    'say A'\nSTEPS = [g]\ndef f(x): return [s.__doc__ for s in STEPS]\n", [("say A", "say B")]),
    Edit("description of a parser", "text", "'''say A'''\nimport argparse\ndef f(x): return argparse.ArgumentParser(prog='p', description=__doc__).format_help()\n", [("say A", "say B")]),
    Edit("name of a function in a table", "text", "def g(x): return x\nSTEPS = [g]\ndef f(x): return [s.__name__ for s in STEPS]\n", [("def g", "def h"), ("[g]", "[h]")]),
    Edit("names of parameters", "text", "import inspect\ndef g(a, b): pass\ndef f(x): return list(inspect.signature(g).parameters)\n", [("a, b", "a, c")]),
    Edit("names of locals", "text", "def f(x):\n    a = x\n    return sorted(locals())\n", [("a = x", "b = x")]),
    Edit("names of a function's variables", "text", "def g():\n    a = 1\n    return a\ndef f(x): return g.__code__.co_varnames\n", [("a = 1", "b = 1"), ("return a", "return b")]),
    Edit("line of a function", "text", "def g(): pass\ndef f(x): return g.__code__.co_firstlineno\n", [("def g", "\ndef g")]),
    Edit("hints of a class", "text", "from typing import get_type_hints\nclass A:\n    a: int\ndef f(x): return str(get_type_hints(A))\n", [("a: int", "a: float")]),
    Edit("hints read by a helper", "text", "import typing\ndef g(a: int): pass\ndef cast(fn, v): return typing.get_type_hints(fn)['a'](v)\ndef f(x): return cast(g, x)\n", [("a: int", "a: float")]),
    Edit("full argument specification", "text", "import inspect\ndef g(a, b=1, *c): pass\ndef f(x): return str(inspect.getfullargspec(g))\n", [("*c", "*d")]),
    Edit("source of a class", "text", "import inspect\nclass A:\n    k = 1  # A\ndef f(x): return inspect.getsource(A)\n", [("# A", "# B")]),
    Edit("docstrings beneath fields", "text", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = 1\n    'say A'\n    model_config = pydantic.ConfigDict(use_attribute_docstrings=True)\ndef f(x): return M.model_fields['a'].description\n", [("say A", "say B")]),
    Edit("description of a field", "text", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = pydantic.Field(1, description='say A')\ndef f(x): return M.model_json_schema()['properties']['a']['description']\n", [("say A", "say B")]),
]

CONSTANT = [
    Edit("flags of a pattern", "constant", "import re\nP = re.compile('a.c', re.S)\ndef f(x): return bool(P.match('a\\nc'))\n", [("re.S", "re.I")]),
    Edit("set of tuples", "constant", "S = {(1, 'a'), (3, 'b')}\ndef f(x): return (x, 'b') in S\n", [("(3, 'b')", "(4, 'b')")]),
    Edit("type of an array", "constant", "import numpy as np\nA = np.array([1, 2], dtype='i8')\ndef f(x): return (A * x / 2).sum() if A.dtype.kind == 'f' else int(A.sum())\n", [("'i8'", "'f8'")]),
    Edit("large array, in the middle", "constant", "import numpy as np\nA = np.zeros(100_000)\nA[50_000] = 1\ndef f(x): return float(A.sum()) + x\n", [("] = 1", "] = 2")]),
    Edit("array in a dict in a tuple", "constant", "import numpy as np\nC = ({'w': np.array([1.0])},)\ndef f(x): return float(C[0]['w'][0]) + x\n", [("[1.0]", "[2.0]")]),
    Edit("index of a series", "constant", "import pandas as pd\nS = pd.Series([1, 2], index=['a', 'b'])\ndef f(x): return int(S['a']) + x\n", [("['a', 'b']", "['b', 'a']")]),
    Edit("attributes of a frame", "constant", "import pandas as pd\nT = pd.DataFrame({'a': [1]})\nT.attrs['unit'] = 'm'\ndef f(x): return T.attrs['unit']\n", [("'m'", "'km'")]),
    Edit("frame of polars", "constant", "import polars as pl\nT = pl.DataFrame({'a': [1]})\ndef f(x): return T['a'][0] + x\n", [("[1]", "[2]")]),
    Edit("zone of a datetime", "constant", "import datetime as dt\nT = dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))\ndef f(x): return T.isoformat()\n", [("hours=1", "hours=2")]),
    Edit("fold of a datetime", "constant", "import datetime as dt\nT = dt.datetime(2024, 10, 27, 2, 30, fold=0)\ndef f(x): return T.fold\n", [("fold=0", "fold=1")]),
    Edit("zone by name", "constant", "from zoneinfo import ZoneInfo\nimport datetime as dt\nZ = ZoneInfo('Europe/Zurich')\ndef f(x): return dt.datetime(2024, 1, 1, tzinfo=Z).utcoffset().seconds\n", [("Europe/Zurich", "Europe/London")], needs="tzdata"),
    Edit("digits of a decimal", "constant", "from decimal import Decimal\nD = Decimal('1.0')\ndef f(x): return str(D)\n", [("'1.0'", "'1.00'")]),
    Edit("kind of a path", "constant", "import pathlib\nP = pathlib.PurePosixPath('a/b')\ndef f(x): return str(P)\n", [("PurePosixPath", "PureWindowsPath")]),
    Edit("value of a context variable", "constant", "import contextvars\nV = contextvars.ContextVar('v')\nV.set(1)\ndef f(x): return V.get(0) + x\n", [("set(1)", "set(2)")]),
    Edit("generator of random numbers made anew", "constant", "import random\nSEED = 1\ndef f(x): return random.Random(SEED).random()\n", [("SEED = 1", "SEED = 2")]),
    Edit("open file", "constant", {"q.txt": "one", "nodes.py": "import pathlib\nQ = open(pathlib.Path(__file__).with_name('q.txt'))\ndef f(x):\n    Q.seek(0)\n    return Q.read()\n"}, [("q.txt", "one", "two")]),
    Edit("table read at import", "constant", {"t.csv": "a\n1\n", "nodes.py": "import csv, pathlib\nwith open(pathlib.Path(__file__).with_name('t.csv')) as fh: ROWS = list(csv.DictReader(fh))\ndef f(x): return ROWS[0]['a']\n"}, [("t.csv", "1", "2")]),
    Edit("JSON read at import in another module", "constant", {"c.json": '{"k": 1}', "conf.py": "import json, pathlib\nCONF = json.loads(pathlib.Path(__file__).with_name('c.json').read_text())\n", "nodes.py": "from conf import CONF\ndef f(x): return CONF['k'] + x\n"}, [("c.json", "1", "2")]),
    Edit("configuration by section", "constant", "import configparser\nC = configparser.ConfigParser()\nC.read_string('[a]\\nk = 1\\n')\ndef f(x): return C['a']['k']\n", [("k = 1", "k = 2")]),
    Edit("template of the standard library", "constant", "import string\nT = string.Template('a $x')\ndef f(x): return T.substitute(x=x)\n", [("a $x", "b $x")]),
    Edit("filter of a template's environment", "constant", "import jinja2\nE = jinja2.Environment()\nE.filters['up'] = lambda v: v + 1\ndef f(x): return E.from_string('{{ x | up }}').render(x=x)\n", [("v + 1", "v + 2")]),
    Edit("template among others", "constant", "import jinja2\nE = jinja2.Environment(loader=jinja2.DictLoader({'a': 'one {{ x }}'}))\ndef f(x): return E.get_template('a').render(x=x)\n", [("one", "two")]),
    Edit("order of a dict", "constant", "D = {'a': 1, 'b': 2}\ndef f(x): return list(D)\n", [("'a': 1, 'b': 2", "'b': 2, 'a': 1")]),
    Edit("factory of a default dict", "constant", "from collections import defaultdict\nD = defaultdict(lambda: 1)\ndef f(x): return D.copy()['q'] + x\n", [("lambda: 1", "lambda: 2")]),
    Edit("what a chain of dicts finds", "constant", "from collections import ChainMap\nC = ChainMap({'a': 1}, {'b': 2})\ndef f(x): return C['b'] + x\n", [("'b': 2", "'b': 3")]),
    Edit("attribute of a namespace, nested", "constant", "from types import SimpleNamespace as N\nC = N(db=N(port=1))\ndef f(x): return C.db.port + x\n", [("port=1", "port=2")]),
    Edit("range", "constant", "R = range(0, 9, 2)\ndef f(x): return list(R)\n", [("9, 2", "9, 3")]),
    Edit("slice", "constant", "S = slice(0, 2)\ndef f(x): return [1, 2, 3][S]\n", [("(0, 2)", "(0, 1)")]),
    Edit("iterator that is copied", "constant", "import copy, itertools\nI = itertools.chain([1], [2])\ndef f(x): return list(copy.copy([*I]))\n", [("[2]", "[3]")]),
    Edit("generator that is read", "constant", "G = (i + 1 for i in range(3))\ndef f(x): return list(G)\n", [("i + 1", "i + 2")]),
    Edit("bytes in an array", "constant", "import array\nA = array.array('i', [1, 2])\ndef f(x): return A[0] + x\n", [("[1, 2]", "[2, 2]")]),
    Edit("address", "constant", "import ipaddress\nN = ipaddress.ip_network('10.0.0.0/8')\ndef f(x): return N.prefixlen\n", [("/8", "/16")]),
    Edit("fitted model", "constant", "from sklearn.linear_model import LinearRegression\nM = LinearRegression().fit([[0], [1]], [0, 1])\ndef f(x): return round(float(M.predict([[x]])[0]), 3)\n", [("[0, 1])", "[0, 2])")]),
    Edit("step of a fitted pipeline", "constant", "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import FunctionTransformer, MinMaxScaler\ndef g(v): return v + 1\nP = make_pipeline(FunctionTransformer(g, validate=True), MinMaxScaler())\ndef f(x): return P.fit([[0], [x]]).named_steps['minmaxscaler'].data_max_.tolist()\n", [("v + 1", "v + 2")]),
    Edit("attribute of a graph's edge", "constant", "import networkx as nx\nG = nx.Graph()\nG.add_edge(1, 2, w=1)\ndef f(x): return G.edges[1, 2]['w'] + x\n", [("w=1", "w=2")]),
    Edit("entries of a sparse matrix", "constant", "from scipy import sparse\nM = sparse.csr_matrix([[0, 1]])\ndef f(x): return int(M.sum()) + x\n", [("[0, 1]", "[0, 2]")]),
    Edit("pixel of an image", "constant", "from PIL import Image\nI = Image.new('L', (2, 2), 1)\ndef f(x): return I.getpixel((0, 0))\n", [(", 1)", ", 2)")]),
    Edit("constant computed at import", "constant", by_helper("import helper\nK = helper.g(1)\ndef f(x): return K + x\n"), IN_HELPER),
    Edit("constant added to", "constant", "K = 1\nK += 1\ndef f(x): return K + x\n", [("+= 1", "+= 2")]),
    Edit("constant under a condition", "constant", "DEBUG = False\nif DEBUG: K = 1\nelse: K = 2\ndef f(x): return K + x\n", [("= False", "= True")]),
    Edit("constant through three modules", "constant", {"a.py": "K = 1\n", "b.py": "from a import K as J\n", "nodes.py": "import b as c\nd = c\ndef f(x): return d.J + x\n"}, [("a.py", "= 1", "= 2")]),
    Edit("settings by attribute", "constant", {"conf.py": "class Settings:\n    def __init__(self): self.db = {'port': 1}\nsettings = Settings()\n", "nodes.py": "from conf import settings\ndef f(x): return settings.db['port'] + x\n"}, [("conf.py", "'port': 1", "'port': 2")]),
    Edit("level of a logger", "constant", "import logging\nlog = logging.getLogger('own')\nlog.setLevel(10)\ndef f(x): return log.getEffectiveLevel()\n", [("(10)", "(20)")]),
    Edit("deque that forgets", "constant", "from collections import deque\nD = deque([1, 2, 3], maxlen=3)\ndef f(x): return D.maxlen\n", [("maxlen=3", "maxlen=4")]),
    Edit("type alias", "constant", "from typing import get_args\nT = dict[str, int]\ndef f(x): return get_args(T)[1](x)\n", [("int]", "float]")]),
    Edit("cyclic value", "constant", "L = [1]\nL.append(L)\ndef f(x): return L[1][0] + x\n", [("[1]\n", "[2]\n")]),
]

WRITTEN = [
    Edit("dict that is updated", "written", "C = {'a': 1}\ndef f(x):\n    C.update(z=x)\n    return C['a'] + x\n", [("'a': 1", "'a': 2")]),
    Edit("dict that is merged in place", "written", "C = {'a': 1}\ndef f(x):\n    global C\n    C |= {'z': x}\n    return C['a'] + x\n", [("'a': 1", "'a': 2")]),
    Edit("list that is added to in place", "written", "L = [1]\ndef f(x):\n    global L\n    L += [x]\n    return L[0]\n", [("[1]", "[2]")]),
    Edit("list of which a slice is set", "written", "L = [1, 2]\ndef f(x):\n    L[1:] = [x]\n    return L[0]\n", [("[1, 2]", "[5, 2]")]),
    Edit("item that is deleted", "written", "C = {'a': 1, 'b': 2}\ndef f(x):\n    C.pop('b', None)\n    return C['a'] + x\n", [("'a': 1", "'a': 2")]),
    Edit("item deleted from a copy", "written", "C = {'a': 1, 'b': 2}\ndef f(x):\n    c = dict(C)\n    del c['b']\n    return c['a'] + x\n", [("'a': 1", "'a': 2")]),
    Edit("copy of a constant that is written to", "written", "C = {'a': {'k': 1}}\nimport copy\ndef f(x):\n    c = copy.deepcopy(C)\n    c['a']['z'] = x\n    return c['a']['k'] + x\n", [("'k': 1", "'k': 2")]),
    Edit("counter of calls", "written", "from collections import Counter\nSEEN = Counter(a=1)\ndef f(x):\n    SEEN['b'] += 1\n    return SEEN['a'] + x\n", [("a=1", "a=2")]),
    Edit("nested dict of which an item is set", "written", "C = {'a': {'k': 1}}\ndef f(x):\n    C['a']['z'] = x\n    return C['a']['k'] + x\n", [("'k': 1", "'k': 2")]),
    Edit("class attribute that is counted up", "written", "class A:\n    k = 1\n    n = 0\ndef f(x):\n    A.n += 1\n    return A.k + x\n", [("k = 1", "k = 2")]),
    Edit("memo that is written by hand", "written", "MEMO = {}\nK = 1\ndef g(x):\n    if x not in MEMO: MEMO[x] = x + K\n    return MEMO[x]\ndef f(x): return g(x)\n", [("K = 1", "K = 2")]),
    Edit("function whose result is stored in a memo", "written", "MEMO = {}\ndef slow(x): return x + 1\ndef f(x):\n    if x not in MEMO: MEMO[x] = slow(x)\n    return MEMO[x]\n", ONE),
    Edit("array of which an item is set in a helper", "written", "import numpy as np\nA = np.array([1, 2])\ndef put(x): A[1] = x\ndef f(x):\n    put(x)\n    return int(A[0])\n", [("[1, 2]", "[5, 2]")]),
    Edit("variable of a closure that is counted up", "written", "def make(n):\n    def g(x):\n        nonlocal n\n        n = n + 0\n        return x + n\n    return g\ng = make(1)\ndef f(x): return g(x)\n", [("make(1)", "make(2)")]),
    Edit("result stored in a local list of a local dict", "written", "def g(x): return x + 1\ndef f(x):\n    out = {'a': []}\n    out['a'].append(g(x))\n    return out\n", ONE),
    Edit("result stored in an attribute of a local", "written", "class A: pass\ndef g(x): return x + 1\ndef f(x):\n    a = A()\n    a.v = g(x)\n    a.w = a.v\n    return a.w\n", ONE),
    Edit("default list that is appended to", "written", "def f(x, seen=[1]):\n    seen.append(x)\n    return seen[0]\n", [("[1]", "[2]")]),
]

NAME = [
    Edit("own package with a library's name", "name", {"toolz/__init__.py": "def g(x): return x + 1\n", "nodes.py": "import toolz\ndef f(x): return toolz.g(x)\n"}, [("toolz/__init__.py", "x + 1", "x + 2")]),
    Edit("own module whose name begins as a library's", "name", {"numpy_helpers.py": "def g(x): return x + 1\n", "nodes.py": "import numpy_helpers as nh\ndef f(x): return nh.g(x)\n"}, [("numpy_helpers.py", "x + 1", "x + 2")]),
    Edit("own module whose name begins as hypernodes", "name", {"hypernodes_tools.py": "def g(x): return x + 1\n", "nodes.py": "from hypernodes_tools import g\ndef f(x): return g(x)\n"}, [("hypernodes_tools.py", "x + 1", "x + 2")]),
    Edit("own module with a library's name in a package", "name", {"pkg/__init__.py": "", "pkg/pandas.py": "def g(x): return x + 1\n", "nodes.py": "from pkg import pandas\ndef f(x): return pandas.g(x)\n"}, [("pkg/pandas.py", "x + 1", "x + 2")]),
    Edit("own module that is named as one of the standard library, in a package", "name", {"pkg/__init__.py": "", "pkg/json.py": "K = 1\ndef g(x): return x + K\n", "nodes.py": "import pkg.json\ndef f(x): return pkg.json.g(x)\n"}, [("pkg/json.py", "K = 1", "K = 2")]),
    Edit("own sched.py", "name", {"sched.py": "class Plan:\n    _k = 1\n    def go(self, x): return x + self._k\n", "nodes.py": "from sched import Plan\nPLAN = Plan()\ndef f(x): return PLAN.go(x)\n"}, [("sched.py", "_k = 1", "_k = 2")]),
    Edit("own this.py, in the function", "name", {"this.py": "def g(x): return x + 1\n", "nodes.py": "def f(x):\n    import this\n    return this.g(x)\n"}, [("this.py", "x + 1", "x + 2")]),
    Edit("own package wave", "name", {"wave/__init__.py": "from .core import g\n", "wave/core.py": "def g(x): return x + 1\n", "nodes.py": "from wave import g\ndef f(x): return g(x)\n"}, [("wave/core.py", "x + 1", "x + 2")]),
    Edit("own code in a folder named site-packages", "name", {"site-packages/mine.py": "def g(x): return x + 1\n", "nodes.py": "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'site-packages'))\nimport mine\ndef f(x): return mine.g(x)\n"}, [("site-packages/mine.py", "x + 1", "x + 2")]),
    Edit("package installed from a folder, with the same version", "name", {
        "site/mine.py": "def g(x): return x + 1\n", "site/mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
        "site/mine-1.0.dist-info/RECORD": "mine.py,,\nmine-1.0.dist-info/METADATA,,\nmine-1.0.dist-info/RECORD,,\n",
        "site/mine-1.0.dist-info/direct_url.json": '{"url": "file:///src/mine", "dir_info": {}}', "site/mine-1.0.dist-info/top_level.txt": "mine\n",
        "nodes.py": "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'site'))\nimport mine\ndef f(x): return mine.g(x)\n",
    }, [("site/mine.py", "x + 1", "x + 2")]),
    Edit("package installed from a repository, with the same version", "name", {
        "site/mine.py": "def g(x): return x + 1\n", "site/mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
        "site/mine-1.0.dist-info/RECORD": "mine.py,,\nmine-1.0.dist-info/METADATA,,\nmine-1.0.dist-info/RECORD,,\n",
        "site/mine-1.0.dist-info/direct_url.json": '{"url": "ssh://git@host/mine", "vcs_info": {"vcs": "git", "commit_id": "a1"}}', "site/mine-1.0.dist-info/top_level.txt": "mine\n",
        "nodes.py": "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'site'))\nfrom mine import g\ndef f(x): return g(x)\n",
    }, [("site/mine.py", "x + 1", "x + 2")]),
    Edit("package from an index in a new version", "name", {
        "site/mine.py": "def g(x): return x + 1\n", "site/mine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n",
        "site/mine-1.0.dist-info/RECORD": "mine.py,,\nmine-1.0.dist-info/METADATA,,\nmine-1.0.dist-info/RECORD,,\n", "site/mine-1.0.dist-info/top_level.txt": "mine\n",
        "nodes.py": "import pathlib, sys\nsys.path.insert(0, str(pathlib.Path(__file__).parent / 'site'))\nimport mine\ndef f(x): return mine.g(x)\n",
    }, [("site/mine.py", "x + 1", "x + 2"), ("site/mine-1.0.dist-info/METADATA", "Version: 1.0", "Version: 1.1")]),
]

SHADES = {"before": {"SHADE": "red"}, "after": {"SHADE": "blue"}}
AROUND = [
    Edit("environment variable by item", "around", "import os\ndef f(x): return os.environ['SHADE']\n", **SHADES),
    Edit("environment variable by getenv", "around", "import os\ndef f(x): return os.getenv('SHADE')\n", **SHADES),
    Edit("environment variable that is set later", "around", "import os\ndef f(x): return os.getenv('SHADE_NEW', 'none')\n", after={"SHADE_NEW": "blue"}),
    Edit("whether an environment variable is there", "around", "import os\ndef f(x): return 'SHADE_NEW' in os.environ\n", after={"SHADE_NEW": "blue"}),
    Edit("environment variable read in a helper elsewhere", "around", {"helper.py": "import os\ndef shade(): return os.environ.get('SHADE', 'none')\n", "nodes.py": "import helper\ndef f(x): return helper.shade()\n"}, **SHADES),
    Edit("environment variable by a global name", "around", "import os\nNAME = 'SHADE'\ndef f(x): return os.environ[NAME]\n", **SHADES),
    Edit("environment variable by an imported name", "around", "from os import environ as env\ndef f(x): return env['SHADE']\n", **SHADES),
    Edit("environment variable by an imported getenv", "around", "from os import getenv\ndef f(x): return getenv('SHADE')\n", **SHADES),
    Edit("environment variable in a property", "around", "import os\nclass C:\n    @property\n    def shade(self): return os.environ['SHADE']\nc = C()\ndef f(x): return c.shade\n", **SHADES),
    Edit("environment variable that is expanded", "around", "import os\ndef f(x): return os.path.expandvars('$SHADE/a')\n", **SHADES),
    Edit("copy of the environment", "around", "import os\ndef f(x): return dict(os.environ)['SHADE']\n", **SHADES),
    Edit("environment variables with a prefix", "around", "import os\ndef f(x): return {k: v for k, v in os.environ.items() if k.startswith('SHADE')}\n", **SHADES),
    Edit("environment variable by an f-string", "around", "import os\ndef get(name): return os.environ[f'SHA{name}']\ndef f(x): return get('DE')\n", **SHADES),
    Edit("environment variable as a default", "around", "import os\ndef f(x, shade=os.environ.get('SHADE')): return shade\n", **SHADES),
    Edit("getter of the environment under a name", "around", "import os\nget = os.environ.get\ndef f(x): return get('SHADE')\n", **SHADES),
    Edit("environment variable in a default factory", "around", "import os\nfrom dataclasses import dataclass, field\n@dataclass\nclass C:\n    shade: str = field(default_factory=lambda: os.environ['SHADE'])\ndef f(x): return C().shade\n", **SHADES),
    Edit("environment imported in the function", "around", "def f(x):\n    import os\n    return os.environ['SHADE']\n", **SHADES),
    Edit("assertions that are left out", "around", "def f(x):\n    try:\n        assert x > 5\n    except AssertionError: return 'no'\n    return 'yes'\n", after={"PYTHONOPTIMIZE": "1"}),
    Edit("__debug__ in a helper", "around", "def g(): return 1 if __debug__ else 2\ndef f(x): return g()\n", after={"PYTHONOPTIMIZE": "1"}),
]

PIPELINE = [
    Edit("node upstream", "pipeline", "from hypernodes import node\n@node(output_name='y')\ndef g(x): return x + 1\n@node(output_name='out')\ndef f(y): return y * 2\nNODES = [g, f]\n", ONE),
    Edit("helper of a node upstream", "pipeline", by_helper("from hypernodes import node\nimport helper\n@node(output_name='y')\ndef g(x): return helper.g(x)\n@node(output_name='out')\ndef f(y): return y * 2\nNODES = [g, f]\n"), IN_HELPER),
    Edit("node in a pipeline that is a node", "pipeline", "from hypernodes import node, Pipeline\n@node(output_name='out')\ndef g(x): return x + 1\nNODES = [Pipeline([g], name='inner').as_node()]\n", ONE),
    Edit("node in a pipeline that is mapped", "pipeline", "from hypernodes import node, Pipeline\nX = [1, 2]\n@node(output_name='y')\ndef g(v): return v + 1\n@node(output_name='out')\ndef f(ys): return sum(ys)\nNODES = [Pipeline([g], name='inner').as_node(map_over={'x': 'v'}, output_mapping={'y': 'ys'}), f]\n", [("v + 1", "v + 2")]),
    Edit("node that is async", "pipeline", by_helper("from hypernodes import node\nimport helper\n@node(output_name='out')\nasync def f(x): return helper.g(x)\nNODES = [f]\n"), IN_HELPER),
    Edit("method as a node", "pipeline", "from hypernodes import node\nclass A:\n    def __init__(self, k): self._k = k\n    def go(self, x): return x + self._k\nNODES = [node(A(1).go, output_name='out')]\n", [("A(1)", "A(2)")]),
    Edit("object as a node", "pipeline", "from hypernodes import node\nclass A:\n    def __init__(self, k): self._k = k\n    def __call__(self, x): return x + self._k\nNODES = [node(A(1), output_name='out')]\n", [("A(1)", "A(2)")]),
    Edit("partial as a node", "pipeline", "import functools\nfrom hypernodes import node\ndef g(x, k): return x + k\nNODES = [node(functools.partial(g, k=1), output_name='out')]\n", [("k=1", "k=2")]),
    Edit("lambda as a node", "pipeline", by_helper("from hypernodes import node\nimport helper\nNODES = [node(lambda x: helper.g(x), output_name='out')]\n"), IN_HELPER),
    Edit("default of a node upstream that is an object", "pipeline", "from hypernodes import node\nclass S:\n    def __init__(self, k): self._k = k\n@node(output_name='out')\ndef f(x, s=S(1)): return x + s._k\nNODES = [f]\n", [("S(1)", "S(2)")]),
    Edit("argument of a stateful object", "pipeline", "from hypernodes import stateful\n@stateful\nclass A:\n    def __init__(self, k): self._k = k\n    def go(self, x): return x + self._k\na = A(1)\ndef f(x): return a.go(x)\n", [("A(1)", "A(2)")]),
    Edit("input whose class changes", "pipeline", "class P:\n    def __init__(self, k): self.k = k\n    def go(self): return self.k + 1\nX = P(1)\ndef f(x): return x.go()\n", [("self.k + 1", "self.k + 2")]),
    Edit("input that is a function", "pipeline", by_helper("import helper\nX = helper.g\ndef f(x): return x(1)\n"), IN_HELPER),
    Edit("private attribute of an input", "pipeline", "class P:\n    def __init__(self, k): self._k = k\nX = P(1)\ndef f(x): return x._k\n", [("P(1)", "P(2)")]),
    Edit("method of an enum's member as an input", "pipeline", "import enum\nclass C(enum.Enum):\n    A = 1\n    def go(self): return self.value + 1\nX = C.A\ndef f(x): return x.go()\n", [("self.value + 1", "self.value + 2")]),
]

BARE = {"before": {"PYTHONNODEBUGRANGES": "1"}, "after": {"PYTHONNODEBUGRANGES": "1"}}
POSITIONS = [
    Edit("result appended to a list, no positions", "positions", "def g(x): return x + 1\ndef f(x):\n    out = []\n    out.append(g(x))\n    out[0:1] = [g(out[0])]\n    return out\n", ONE, **BARE),
    Edit("result added up in a dict, no positions", "positions", "def g(x): return x + 1\ndef f(x):\n    out = {'a': 1}\n    out['a'] += g(x)\n    return out\n", ONE, **BARE),
    Edit("import in the function, no positions", "positions", by_mod("def f(x):\n    from pkg import mod\n    return mod.g(x)\n"), IN_MOD, **BARE),
]

SEEDS = {"before": {"PYTHONHASHSEED": "1"}, "after": {"PYTHONHASHSEED": "2"}}


def same(name, kind, files, change=(), **more):
    """An edit of which nothing that a result depends on is changed."""
    return Edit(name, kind, files, list(change), HIT, **more)


LAYOUT = [
    same("comprehension over several lines", "layout", "def f(x): return [i * 2 for i in range(x) if i]\n", [("[i * 2 for i in range(x) if i]", "[\n        i * 2\n        for i in range(x)\n        if i\n    ]")]),
    same("body on a line of its own", "layout", "def g(x): return x + 1\ndef f(x):\n    if x: return g(x)\n    return 0\n", [("def g(x): return", "def g(x):\n    return"), ("if x: return", "if x:\n        return")]),
    same("trailing commas", "layout", "def g(a, b=1): return a + b\ndef f(x): return g(x, b=2)\n", [("a, b=1", "\n    a,\n    b=1,\n"), ("x, b=2", "x, b=2,")]),
    same("text that is joined by the compiler", "layout", "def f(x): return 'abcd' * x\n", [("'abcd'", "('ab' 'cd')")]),
    same("number written in another way", "layout", "def f(x): return x + 1000 + 255\n", [("1000", "1_000"), ("255", "0xFF")]),
    same("indent of two", "layout", "def f(x):\n    if x:\n        return x + 1\n    return 0\n", [("    if x:\n        return x + 1\n    return 0", "  if x:\n    return x + 1\n  return 0")]),
    same("lines that end as on Windows", "layout", "def g(x):\n    return x + 1\ndef f(x):\n    return g(x)\n", [("\n", "\r\n")]),
    same("encoding named", "layout", "def f(x): return x + 1\n", [("def f", "# -*- coding: utf-8 -*-\ndef f")]),
    same("chain of methods over several lines", "layout", "import pandas as pd\ndef f(x): return pd.DataFrame({'a': [x, 1]}).sort_values('a').a.tolist()\n", [("return pd.DataFrame({'a': [x, 1]}).sort_values('a').a.tolist()", "return (\n        pd.DataFrame({'a': [x, 1]})\n        .sort_values('a')\n        .a.tolist()\n    )")]),
    same("decorators with lines between", "layout", "import functools\ndef d(fn):\n    @functools.wraps(fn)\n    def w(x): return fn(x) + 1\n    return w\n@d\ndef g(x): return x\ndef f(x): return g(x)\n", [("@d\n", "\n\n# here\n@d\n# and here\n")]),
    same("class with lines between", "layout", "class A:\n    k = 1\n    def go(self, x): return x + self.k\na = A()\ndef f(x): return a.go(x)\n", [("    k = 1\n", "\n    # a number\n    k = 1\n\n")]),
    same("backslash", "layout", "def f(x): return x + 1 + 2\n", [("x + 1 + 2", "x + 1 \\\n        + 2")]),
    same("nested function with a comment", "layout", "def f(x):\n    def g(y): return y + 1\n    return g(x)\n", [("    def g", "    # a helper\n\n    def g")]),
    same("match with blank lines", "layout", "def f(x):\n    match x:\n        case 3: return 'a'\n        case _: return 'b'\n", [("case 3: return", "case 3:\n            # three\n            return")]),
]

READ = [
    same("docstring of a function that has one already", "text", "def g(x):\n    'Says.'\n    return x\ndef f(x): return g(x)\n", [("Says.", "Says more.")]),
    same("docstring of a helper's module", "text", by_helper("import helper\ndef f(x): return helper.g(x)\n"), [("helper.py", "def g", "'''Says.'''\ndef g")]),
    same("docstring of a nested function", "text", "def f(x):\n    def g(y):\n        return y\n    return g(x)\n", [("        return y", "        'Says.'\n        return y")]),
    same("docstring of a wrapped function", "text", "import functools\ndef d(fn):\n    @functools.wraps(fn)\n    def w(x): return fn(x)\n    return w\n@d\ndef g(x):\n    return x\ndef f(x): return g(x)\n", [("def g(x):\n", "def g(x):\n    'Says.'\n")]),
    same("docstring of a constant's class", "text", "class A:\n    def __init__(self, k): self.k = k\na = A(1)\ndef f(x): return a.k + x\n", [("class A:\n", "class A:\n    'Says.'\n")]),
    same("docstring of an enum", "text", "import enum\nclass C(enum.Enum):\n    A = 1\ndef f(x): return C.A.value\n", [("    A = 1", "    'Says.'\n    A = 1")]),
    same("docstring of a named tuple", "text", "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int = 1\ndef f(x): return P().a\n", [("    a: int", "    'Says.'\n    a: int")]),
    same("docstring of a pydantic model", "text", "import pydantic\nclass M(pydantic.BaseModel):\n    a: int\ndef f(x): return M(a=x).a\n", [("    a: int", "    'Says.'\n    a: int")]),
    same("docstring of a descriptor", "text", "class D:\n    def __get__(self, obj, owner): return 1\nclass A:\n    k = D()\ndef f(x): return A.k\n", [("class D:\n", "class D:\n    'Says.'\n")]),
    same("docstring of a cached property", "text", "import functools\nclass A:\n    @functools.cached_property\n    def k(self):\n        return 1\ndef f(x): return A().k\n", [("        return 1", "        'Says.'\n        return 1")]),
    same("docstrings that -OO drops", "text", "'''Says.'''\nclass A:\n    'Says.'\n    def go(self, x):\n        'Says.'\n        return x\ndef g(x):\n    'Says.'\n    return A().go(x)\ndef f(x):\n    'Says.'\n    return g(x)\n", after={"PYTHONOPTIMIZE": "2"}),
    same("no assertions under -O", "text", "K = [1]\ndef g(x): return x + K[0]\ndef f(x): return g(x)\n", before={"PYTHONOPTIMIZE": "1"}),
    same("body that becomes a docstring alone", "text", "class A:\n    def setup(self): pass\n    def go(self, x):\n        self.setup()\n        return x\ndef f(x): return A().go(x)\n", [("def setup(self): pass", "def setup(self):\n        'Nothing to do.'")]),
]

HINTS = [
    same("from __future__ import annotations, with hints", "hints", "def g(x: int) -> int: return x + 1\ndef f(x: int) -> int: return g(x)\n", [("def g", "from __future__ import annotations\ndef g")]),
    same("from __future__ import annotations, with a class", "hints", "class A:\n    k: int = 1\n    def go(self, x: int) -> int: return x + self.k\ndef f(x): return A().go(x)\n", [("class A", "from __future__ import annotations\nclass A")]),
    same("from __future__ import annotations in a helper's module", "hints", {"helper.py": "def g(x: int) -> int: return x + 1\n", "nodes.py": "import helper\ndef f(x): return helper.g(x)\n"}, [("helper.py", "def g", "from __future__ import annotations\ndef g")]),
    same("optional written in another way", "hints", "from typing import Optional\ndef g(x: Optional[int] = None): return x\ndef f(x): return g(x)\n", [("from typing import Optional\n", ""), ("Optional[int]", "int | None")]),
    same("list of typing", "hints", "from typing import List\ndef g(x) -> List[int]: return [x]\ndef f(x): return g(x)\n", [("from typing import List\n", ""), ("List[int]", "list[int]")]),
    same("hint of a variable of the module", "hints", "K = 1\ndef f(x): return x + K\n", [("K = 1", "K: int = 1")]),
    same("hint of a private attribute", "hints", "class A:\n    def __init__(self, k): self._k = k\na = A(1)\ndef f(x): return x + a._k\n", [("self._k = k", "self._k: int = k")]),
    same("hint in quotes", "hints", "class A:\n    def same(self): return self\ndef f(x): return A().same() is not None\n", [("def same(self):", "def same(self) -> 'A':")]),
    same("hint of a keyword and of more arguments", "hints", "def g(*a, k=1, **m): return len(a) + k\ndef f(x): return g(x)\n", [("*a, k=1, **m", "*a: int, k: int = 1, **m: int")]),
    same("hint of a nested function and a lambda's variable", "hints", "def f(x):\n    def g(y): return y + 1\n    h = lambda v: g(v)\n    return h(x)\n", [("def g(y):", "def g(y: float) -> float:")]),
    same("cast for type checkers taken over", "hints", "def f(x):\n    y = x + 1\n    return y\n", [("    y = x + 1\n", "    y: 'Decimal' = x + 1  # type: ignore\n")]),
    same("protocol only for hints", "hints", "def g(x): return x + 1\ndef f(x): return g(x)\n", [("def g(x)", "from typing import Protocol\nclass Number(Protocol):\n    def __add__(self, other): ...\ndef g(x: Number)")]),
    same("own class only for type checkers", "hints", by_helper("import helper\ndef f(x): return helper.g(x)\n", **{"kinds.py": "class Kind: pass\n"}), [("import helper\n", "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nimport helper\nif TYPE_CHECKING:\n    from kinds import Kind\n"), ("def f(x)", "def f(x: Kind)")]),
    same("final and class variable", "hints", "class A:\n    k = 1\ndef f(x): return A.k\n", [("class A:\n    k = 1", "from typing import Final\nclass A:\n    k: Final = 1")]),
    same("overloads", "hints", "def g(x): return x + 1\ndef f(x): return g(x)\n", [("def g(x): return", "from typing import overload\n@overload\ndef g(x: int) -> int: ...\n@overload\ndef g(x: float) -> float: ...\ndef g(x): return")]),
]

RENAME = [
    same("variable of a comprehension renamed", "rename", "def f(x): return [i + 1 for i in range(x)]\n", [("i + 1 for i", "item + 1 for item")]),
    same("error renamed", "rename", "def f(x):\n    try: return int('q')\n    except ValueError as e: return str(e)\n", [("as e: return str(e)", "as error: return str(error)")]),
    same("variable of a with renamed", "rename", "import contextlib\n@contextlib.contextmanager\ndef opened(): yield 1\ndef f(x):\n    with opened() as h: return h + x\n", [("as h: return h", "as handle: return handle")]),
    same("local of a helper renamed", "rename", {"helper.py": "def g(x):\n    a = x + 1\n    return a\n", "nodes.py": "import helper\ndef f(x): return helper.g(x)\n"}, [("helper.py", None, "def g(x):\n    total = x + 1\n    return total\n")]),
    same("local of a method renamed", "rename", "class A:\n    def go(self, x):\n        a = x + 1\n        return a\ndef f(x): return A().go(x)\n", [("a = x", "total = x"), ("return a\n", "return total\n")]),
    same("variable that a nested function reads renamed", "rename", "def f(x):\n    k = 1\n    def g(y): return y + k\n    return g(x)\n", [("k = 1", "by = 1"), ("y + k", "y + by")]),
    same("walrus renamed", "rename", "def f(x):\n    if (n := x + 1) > 3: return n\n    return 0\n", [("(n :=", "(big :="), ("return n", "return big")]),
    same("variable of a match renamed", "rename", "def f(x):\n    match [x, 1]:\n        case [a, *_]: return a\n        case _: return 0\n", [("[a, *_]: return a", "[first, *_]: return first")]),
    same("unpacked variables renamed", "rename", "def f(x):\n    a, b = x, 1\n    return a - b\n", [("a, b = x", "left, right = x"), ("a - b", "left - right")]),
]

ORDER = [
    same("imports sorted", "order", "import json\nimport decimal\nimport collections\ndef f(x): return json.dumps([x, str(decimal.Decimal(1)), len(collections.Counter('a'))])\n", [("import json\nimport decimal\nimport collections\n", "import collections\nimport decimal\nimport json\n")]),
    same("constants in another order", "order", "A = 1\nB = 2\ndef f(x): return A - B\n", [("A = 1\nB = 2\n", "B = 2\nA = 1\n")]),
    same("helper below the node", "order", "def g(x): return x + 1\ndef f(x): return g(x)\n", [("def g(x): return x + 1\ndef f(x): return g(x)\n", "def f(x): return g(x)\ndef g(x): return x + 1\n")]),
    same("classes in another order", "order", "class A: k = 1\nclass B: k = 2\ndef f(x): return A.k - B.k\n", [("class A: k = 1\nclass B: k = 2\n", "class B: k = 2\nclass A: k = 1\n")]),
    same("lambda moved beneath other lambdas", "order", "OTHER = lambda x: x\nSTEP = lambda x: x + 1\ndef f(x): return STEP(x)\n", [("OTHER = lambda x: x\nSTEP = lambda x: x + 1\n", "STEP = lambda x: x + 1\nOTHER = lambda x: x\n")]),
    same("constant moved to another module", "order", {"conf.py": "K = 1\n", "nodes.py": "K = 1\ndef f(x): return x + K\n"}, [("K = 1\n", "from conf import K\n")]),
    same("class moved to another module", "order", {"kinds.py": "class A:\n    def go(self, x): return x + 1\n", "nodes.py": "class A:\n    def go(self, x): return x + 1\ndef f(x): return A().go(x)\n"}, [("class A:\n    def go(self, x): return x + 1\n", "from kinds import A\n")]),
    same("set in another order", "order", "S = {'a', 'b', 'c'}\ndef f(x): return len(S) + ('a' in S)\n", [("{'a', 'b', 'c'}", "{'c', 'a', 'b'}")]),
]

UNUSED = [
    same("private helper that nobody uses removed", "unused", "def _old(x): return x\ndef f(x): return x + 1\n", [("def _old(x): return x\n", "")]),
    same("import that nobody uses removed", "unused", "import json, re\nfrom decimal import Decimal\ndef f(x): return json.dumps(x)\n", [("import json, re\nfrom decimal import Decimal\n", "import json\n")]),
    same("constant that nobody uses", "unused", "OLD = 1\ndef f(x): return x\n", [("OLD = 1", "OLD = 2")]),
    same("name that is deleted", "unused", "K = [i for i in range(3)]\ndef f(x): return x + len(K)\n", [("def f", "i = 1\ndel i\ndef f")]),
    same("function in the helper's module that nobody uses", "unused", {"helper.py": "def g(x): return x + 1\ndef old(x): return x\n", "nodes.py": "import helper\ndef f(x): return helper.g(x)\n"}, [("helper.py", "return x\n", "return -x\n")]),
    same("script part of the module", "unused", "def f(x): return x\n", [("return x\n", "return x\nif __name__ == '__main__':\n    print(f(1))\n")]),
    same("module of the package that nobody uses", "unused", by_mod("from pkg import mod\ndef f(x): return mod.g(x)\n", **{"pkg/old.py": "K = 1\n"}), [("pkg/old.py", "K = 1", "K = 2")]),
    same("import of own code under a name that nobody uses", "unused", by_helper("def f(x): return x\n"), [("def f", "from helper import g as _g\ndef f")]),
    same("other nodes of the module", "unused", "from hypernodes import node\n@node(output_name='other')\ndef g(x): return x + 1\n@node(output_name='out')\ndef f(x): return x\nNODES = [f]\n", ONE),
    same("list of what is exported is new", "unused", by_helper("import helper\ndef f(x): return helper.g(x)\n"), [("helper.py", "def g", "__all__ = ['g']\ndef g")]),
    same("version of the package", "unused", {"pkg/__init__.py": "__version__ = '1'\n", "pkg/mod.py": "def g(x): return x + 1\n", "nodes.py": "from pkg.mod import g\ndef f(x): return g(x)\n"}, [("pkg/__init__.py", "'1'", "'2'")]),
]

SAME = [
    same("logger with a handler", "same", "import logging\nlog = logging.getLogger('own')\nlog.addHandler(logging.NullHandler())\ndef g(x):\n    log.debug('a %s', x)\n    return x\ndef f(x): return g(x)\n"),
    same("memoised helper that was called in the first run", "same", "import functools, os\n@functools.lru_cache(maxsize=None)\ndef g(x): return x + 1\nif not os.path.exists('cachedir'): g(1)\ndef f(x): return g(x)\n"),
    same("cached property that was looked at in the first run", "same", "import functools, os\nclass A:\n    def __init__(self, k): self.k = k\n    @functools.cached_property\n    def twice(self): return self.k * 2\na = A(1)\nif not os.path.exists('cachedir'): a.twice\ndef f(x): return a.twice + x\n"),
    same("pattern that was used in the first run", "same", "import os, re\nP = re.compile('[a-z]+')\nif not os.path.exists('cachedir'): P.findall('a b')\ndef f(x): return P.findall('a b')\n"),
    same("fitted words", "same", "from sklearn.feature_extraction.text import TfidfVectorizer\nV = TfidfVectorizer(stop_words='english').fit(['a cat sat', 'dog ran'])\ndef f(x): return sorted(V.vocabulary_)\n"),
    same("dataclass with a set", "same", "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass C:\n    words: frozenset = field(default_factory=lambda: frozenset({'a', 'b', 'c'}))\nS = C()\ndef f(x): return len(S.words)\n", **SEEDS),
    same("functions that call each other and a set of them, deep", "same", "def a(n): return n and b(n - 1)\ndef b(n): return n and c(n - 1)\ndef c(n): return n and a(n - 1)\nALL = {'k': frozenset({a, b, c})}\ndef f(x): return sorted(k(x) for k in ALL['k'])\n", **SEEDS),
    same("classes that know each other", "same", "class A:\n    def other(self): return B\nclass B:\n    def other(self): return A\nALL = {A, B}\ndef f(x): return A().other().__name__\n", **SEEDS),
    same("set of members of an enum", "same", "import enum\nclass C(enum.Enum):\n    A = 'a'\n    B = 'b'\n    D = 'd'\nS = {C.A, C.B, C.D}\ndef f(x): return len(S)\n", **SEEDS),
    same("set within the function", "same", "def f(x): return len({'a', 'b', str(x)}) + ('q' in {'a', 'q', 'z'})\n", **SEEDS),
    same("objects that know each other", "same", "class N:\n    def __init__(self, n): self.n = n; self.others = set()\nA, B, C = N(1), N(2), N(3)\nA.others |= {B, C}\nB.others |= {A, C}\ndef f(x): return len(A.others) + x\n", **SEEDS),
    same("other environment variable", "same", "import os\ndef f(x): return os.environ.get('SHADE', 'none')\n", after={"OTHER_SHADE": "blue"}),
    same("environment that nobody reads", "same", "import os\ndef f(x): return os.path.join('a', str(x))\n", **SHADES),
    same("image from a file", "same", "import pathlib\nfrom PIL import Image\nPLACE = pathlib.Path(__file__).with_name('i.png')\nif not PLACE.exists(): Image.new('L', (2, 2), 7).save(PLACE)\nX = Image.open(PLACE)\ndef f(x): return x.getpixel((0, 0))\n"),
    same("thread-local that is filled while running", "same", "import threading\nclass Memo(threading.local): pass\ndef f(x):\n    here = Memo()\n    here.k = x\n    return here.k\n"),
    same("timer around a helper", "same", "import functools, time\ndef timed(fn):\n    @functools.wraps(fn)\n    def w(*args):\n        begun = time.perf_counter()\n        try: return fn(*args)\n        finally: time.perf_counter() - begun\n    return w\n@timed\ndef g(x): return x + 1\ndef f(x): return g(x)\n"),
    same("table of types", "same", "import datetime, decimal\nCAST = {'int': int, 'date': datetime.date.fromisoformat, 'money': decimal.Decimal}\ndef f(x): return str(CAST['money'](x))\n", **SEEDS),
    same("warnings that are shown once", "same", "import warnings\ndef g(x):\n    warnings.warn('old', DeprecationWarning)\n    return x\ndef f(x): return g(x)\n"),
    same("module run from another folder's path", "same", by_helper("import pathlib, sys\nsys.path.append(str(pathlib.Path(__file__).parent / 'lib'))\nimport helper\ndef f(x): return helper.g(x)\n")),
    same("abstract class that was asked about in the first run", "same", "import abc, os\nclass B(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\nclass A(B):\n    def go(self): return 1\nif not os.path.exists('cachedir'): isinstance(3, B), issubclass(int, B)\ndef f(x): return A().go() + isinstance(x, B)\n"),
    same("array of which a view was made in the first run", "same", "import os\nimport numpy as np\nA = np.arange(4.0)\nif not os.path.exists('cachedir'): A.view(), A.flags.writeable\ndef f(x): return float(A.sum())\n"),
]

OPTION = [
    same("parameter with a default added to a helper", "option", "def g(x): return x + 1\ndef f(x): return g(x)\n", [("def g(x): return", "def g(x, by=1): return")]),
    same("parameter with a default added to the node", "option", "def f(x): return x + 1\n", [("def f(x):", "def f(x, by=None):")]),
    same("timeout of a node", "option", "from hypernodes import node\n@node(output_name='out')\ndef f(x): return x\nNODES = [f]\n", [("'out')", "'out', timeout_seconds=30)")]),
    same("name given to a node", "option", "from hypernodes import node\n@node(output_name='out')\ndef f(x): return x\nNODES = [f]\n", [("'out')", "'out', name='other')")]),
    same("name of a pipeline", "option", "from hypernodes import node, Pipeline\n@node(output_name='out')\ndef g(x): return x + 1\nNODES = [Pipeline([g], name='inner').as_node()]\n", [("'inner'", "'outer'")]),
    same("node made by a call", "option", "from hypernodes import node\n@node(output_name='out')\ndef f(x): return x\nNODES = [f]\n", [("@node(output_name='out')\n", ""), ("[f]", "[node(f, output_name='out')]")]),
    same("further node downstream", "option", "from hypernodes import node\n@node(output_name='out')\ndef f(x): return x\nNODES = [f]\n", [("NODES = [f]", "@node(output_name='more')\ndef h(out): return out\nNODES = [f, h]")]),
]

# What finds other code is handed on, or used under another name; and the rest that came of it.
HANDED_ON = [
    Edit("import in comprehension","import",{"pkg/__init__.py":"","pkg/mod.py":"def g(x):\n    return x + 1\n","nodes.py":"def f(x):\n    from pkg import mod\n    return [mod.g(i) for i in [x]]\n"},[("pkg/mod.py","x + 1","x + 2")]),
    Edit("import in nested function","import",{**HELPER,"nodes.py":"def f(x):\n    import helper\n    def k(): return helper.g(x)\n    return k()\n"},IN_HELPER),
    Edit("import in lambda default","import",{**HELPER,"nodes.py":"def f(x):\n    import helper as h\n    return (lambda m=h: m.g(x))()\n"},IN_HELPER),
    Edit("import aliased to attr of obj","import",{**HELPER,"nodes.py":"class A: pass\na=A()\ndef f(x):\n    import helper\n    b=A(); b.h=helper\n    return b.h.g(x)\n"},IN_HELPER),
    Edit("environ alias","around","from os import environ as E\ndef f(x): return E['SHADE']\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("environ in class","around","import os\nclass S:\n    @property\n    def shade(self): return os.getenv('SHADE', 'x')\ns=S()\ndef f(x): return s.shade\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("environ in default factory","around","import os\nfrom dataclasses import dataclass, field\n@dataclass\nclass S:\n    shade: str = field(default_factory=lambda: os.environ.get('SHADE'))\ndef f(x): return S().shade\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("getenv via partial","around","import os, functools\ng=functools.partial(os.getenv,'SHADE')\ndef f(x): return g()\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("getenv in dict","around","import os\nG={'g':os.getenv}\ndef f(x): return G['g']('SHADE')\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("environ in list const","around","import os\nG=[os.environ]\ndef f(x): return G[0]['SHADE']\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("environ get as function","around","import os\nget=os.environ.get\ndef f(x): return get('SHADE')\n",before={"SHADE":"red"},after={"SHADE":"blue"}),
    Edit("eval in dict","lookup","G={'e':eval}\nK=1\ndef f(x): return G['e']('K + 1')\n",[("K=1","K=2")]),
    Edit("import_module in partial","lookup",{**HELPER,"nodes.py":"import importlib, functools\ng=functools.partial(importlib.import_module,'helper')\ndef f(x): return g().g(x)\n"},IN_HELPER),
    Edit("import_module via alias","lookup",{**HELPER,"nodes.py":"from importlib import import_module as im\ndef f(x): return im('helper').g(x)\n"},IN_HELPER),
    Edit("import_module stored","lookup",{**HELPER,"nodes.py":"import importlib\nIM=[importlib.import_module]\ndef f(x): return IM[0]('helper').g(x)\n"},IN_HELPER),
    Edit("globals stored","lookup","G=globals\ndef g(x): return x + 1\ndef f(x): return G()['g'](x)\n",ONE),
    Edit("globals dict stored","lookup","G=globals()\ndef g(x): return x + 1\ndef f(x): return G['g'](x)\n",ONE),
    Edit("vars module stored","lookup",{**HELPER,"nodes.py":"import helper\nG=vars(helper)\ndef f(x): return G['g'](x)\n"},IN_HELPER),
    Edit("module __dict__ get","lookup",{**HELPER,"nodes.py":"import helper\ndef f(x): return helper.__dict__.get('g')(x)\n"},IN_HELPER),
    Edit("getattr stored","lookup",{**HELPER,"nodes.py":"import helper\nGA=getattr\ndef f(x): return GA(helper,'g')(x)\n"},IN_HELPER),
    Edit("methodcaller","lookup",{**HELPER,"nodes.py":"import helper, operator\nM=operator.methodcaller('g',3)\ndef f(x): return M(helper)\n"},IN_HELPER),
    Edit("attr via class var","class","class C:\n    k=1\n    @staticmethod\n    def s(): return C.k\ndef f(x): return C.s()\n",[("k=1","k=2")]),
    Edit("slots mangled private","class","class C:\n    __slots__=('__k',)\n    def __init__(self,k): self.__k=k\n    def v(self): return self.__k\nc=C(1)\ndef f(x): return c.v()\n",[("C(1)","C(2)")]),
    Edit("private in list of objects","class","class C:\n    def __init__(self,k): self._k=k\nL=[C(1)]\ndef f(x): return L[0]._k\n",[("C(1)","C(2)")]),
    Edit("getstate says","class","class C:\n    def __init__(self,k): self._k=k; self._lock=open(__file__)\n    def __getstate__(self): return self._k\nc=C(1)\ndef f(x): return c._k\n",[("C(1)","C(2)")]),
    Edit("str enum method","class","import enum\nclass E(str,enum.Enum):\n    A='a'\n    def go(self): return 1\ndef f(x): return E('a').go()\n",[("return 1","return 2")]),
    Edit("intflag","class","import enum\nclass P(enum.IntFlag):\n    R=1\n    W=2\ndef f(x): return int(P.R|P.W)\n",[("W=2","W=4")]),
    Edit("namedtuple method","class","from typing import NamedTuple\nclass T(NamedTuple):\n    a:int\n    def go(self): return self.a+1\nt=T(1)\ndef f(x): return t.go()\n",[("a+1","a+2")]),
    Edit("module property class","class","import sys, types\nclass M(types.ModuleType):\n    @property\n    def k(self): return 1\nm=M('own_m')\ndef f(x): return m.k\n",[("return 1","return 2")]),
    Edit("module attr set at runtime","import",{"cfg.py":"","nodes.py":"import cfg\ncfg.K=1\ndef f(x): return cfg.K\n"},[("K=1","K=2")]),
    Edit("decorator replaced class","decorator","def d(c):\n    c.k=1\n    return c\n@d\nclass A: pass\ndef f(x): return A.k\n",[("c.k=1","c.k=2")]),
    Edit("nested partial","function","import functools\ndef g(a,b,x): return a*b*x\np=functools.partial(functools.partial(g,1),b=2)\ndef f(x): return p(x=x)\n",[("b=2)","b=3)")]),
    Edit("deque const","constant","from collections import deque\nD=deque([1],maxlen=2)\ndef f(x):\n    d=D.copy(); d.extend([2,3]); return list(d)\n",[("maxlen=2","maxlen=3")]),
    Edit("re flags","constant","import re\nR=re.compile('A')\ndef f(x): return bool(R.match('a'))\n",[("'A')","'A', re.I)")]),
    Edit("zoneinfo","constant","from zoneinfo import ZoneInfo\nimport datetime as dt\nZ=ZoneInfo('UTC')\ndef f(x): return str(dt.datetime(2024,7,1,tzinfo=Z).utcoffset())\n",[("'UTC'","'Europe/Zurich'")]),
    Edit("only appends","same","L=[]\ndef f(x):\n    L.append(x)\n    return x\n",[],HIT),
    Edit("logging adapter","same","import logging\nlog=logging.LoggerAdapter(logging.getLogger('a'),{'k':1})\ndef f(x):\n    log.info('a')\n    return x\n",[],HIT),
    Edit("rlock cond event","same","import threading\nC=threading.Condition()\nE=threading.Event()\nS=threading.Semaphore(2)\ndef f(x):\n    with C, S: return x if not E.is_set() else 0\n",[],HIT),
    Edit("executor local","same","from concurrent.futures import ThreadPoolExecutor\ndef g(x): return x\ndef f(x):\n    with ThreadPoolExecutor(2) as p: return list(p.map(g,[x]))\n",[],HIT),
    Edit("doc of pydantic model not read","text","import pydantic\nclass M(pydantic.BaseModel):\n    a: int\ndef f(x): return M(a=x).a\n",[("    a: int","    'Says.'\n    a: int")],HIT),
    Edit("doc of helper passed to map","text","def g(x): return x\ndef f(x): return list(map(g,[x]))\n",[("def g(x): return x","def g(x):\n    'Says.'\n    return x")],HIT),
    Edit("hint class attr plain","hints","class A:\n    k = 1\ndef f(x): return A.k\n",[("k = 1","k: int = 1")],HIT),
    Edit("helper with default added","same","def g(x): return x + 1\ndef f(x): return g(x)\n",[("def g(x)","def g(x, unused=None)")],HIT),
    Edit("kw only default added","same","def g(x): return x + 1\ndef f(x): return g(x)\n",[("def g(x)","def g(x, *, unused=None)")],HIT),
    Edit("node default added","same","def f(x): return x\n",[("def f(x)","def f(x, verbose=False)")],HIT),
    Edit("lambda local renamed comp","rename","def f(x):\n    return {k: v for k, v in zip('ab', [x, 1])}\n",[("{k: v for k, v in","{key: val for key, val in")],HIT),
    Edit("exception name renamed","rename","def f(x):\n    try: return 1/0\n    except ZeroDivisionError as e:\n        return type(e).__name__\n",[("as e:","as err:"),("type(e)","type(err)")],HIT),
]

MUST_RUN = [BODY, IMPORT, LOOKUP, REGISTRY, FUNCTION, DECORATOR, CLASS, SCHEMA, TEXT, CONSTANT]
MUST_RUN += [WRITTEN, NAME, AROUND, PIPELINE, POSITIONS]
MUST_HIT = [LAYOUT, READ, HINTS, RENAME, ORDER, UNUSED, SAME, OPTION]
EDITS = [edit for kind in [*MUST_RUN, *MUST_HIT, HANDED_ON] for edit in kind]

if __name__ == "__main__":
    in_form(EDITS)
