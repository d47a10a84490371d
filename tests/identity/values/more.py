"""Further pairs of the same kinds: what a subclass, a container or a cache adds to a value."""

from _pair import AGREE, DIFFER, Pair, in_form

SUBCLASSES = """
class Name(str):
    def __new__(cls, text, lang):
        self = super().__new__(cls, text)
        self.lang = lang
        return self
class Count(int):
    pass
class Row(tuple):
    pass
class Words(list):
    pass
def words(unit):
    made = Words([1])
    made._unit = unit
    return made
class Units(dict):
    pass
def units(unit):
    made = Units(a=1)
    made.unit = unit
    return made
class Money(decimal.Decimal):
    pass
class Folder(type(pathlib.Path())):
    pass
class Span(dt.timedelta):
    pass
class Moment(dt.datetime):
    pass
class Tags(set):
    pass
def tags(unit):
    made = Tags({1})
    made.unit = unit
    return made
class Raw(bytes):
    pass
class Real(float):
    def __new__(cls, value, unit):
        self = super().__new__(cls, value)
        self._unit = unit
        return self
class Conf(collections.UserDict):
    def __init__(self, data, strict):
        super().__init__(data)
        self._strict = strict
class Line(collections.UserList):
    pass
"""
OWN = """
class Plain:
    def __init__(self, **given): self.__dict__.update(given)
class Slots:
    __slots__ = ('a', '__weakref__')
    def __init__(self, a): self.a = a
class Deep(Slots):
    __slots__ = ('_b',)
    def __init__(self, a, b): super().__init__(a); self._b = b
class Mixed(Slots):
    def __init__(self, a, b): super().__init__(a); self._b = b
class Mangled:
    def __init__(self, k): self.__k = k
class Stated:
    def __init__(self, a, cache): self.a = a; self.cache = cache
    def __getstate__(self): return {'a': self.a}
class Keyed:
    def __init__(self, a, client): self.a = a; self.client = client
    def __cache_key__(self): return self.a
@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    a: int
    _b: int = 0
@dataclasses.dataclass
class Cached:
    a: int
    @functools.cached_property
    def double(self): return 2 * self.a
def looked():
    cached = Cached(1)
    cached.double
    return cached
@dataclasses.dataclass
class Outer:
    inner: Cell
    more: list = dataclasses.field(default_factory=list, repr=False, compare=False)
class Scale:
    def __init__(self, by): self._by = by
    def __call__(self, x): return x * self._by
    def go(self, x): return x * self._by
def pair(one, other):
    return [one, other]
def shared():
    cell = [1]
    return {'a': cell, 'b': [cell]}
def loop(k):
    made = Plain(k=k)
    made.me = made
    return made
def knot(order):
    one, two = Plain(n=1), Plain(n=2)
    one.others, two.others = {two, one}, {one, two}
    return {one, two} if order else {two, one}
def adder(k):
    def add(x): return x + k
    return add
"""
ENUMS = """
class Perm(enum.Flag):
    R = 1
    W = 2
class Other(enum.Flag):
    R = 1
    W = 2
class Level(enum.IntEnum):
    LOW = 1
"""
PANDAS = """
class Tagged(pd.Series):
    _metadata = ['tag']
    @property
    def _constructor(self): return Tagged
def tagged(tag):
    made = Tagged([1])
    made.tag = tag
    return made
def noted(note):
    made = pd.Series([1])
    made.attrs['note'] = note
    return made
"""
ARRAYS = """
class Labelled(np.ndarray):
    pass
def labelled(label):
    made = np.arange(2).view(Labelled)
    made._label = label
    return made
def soft(mask):
    return np.ma.array([1, 2, 3], mask=mask)
"""
GRAPHS = """
import networkx as nx
def graph(**more):
    made = nx.Graph(**more)
    made.add_edge(1, 2, w=1)
    return made
def weighted(w):
    made = nx.Graph()
    made.add_edge(1, 2, w=w)
    return made
"""
IMAGES = """
from PIL import Image
def image(pixel, mode='L'):
    return Image.new(mode, (2, 2), pixel)
def saved():
    place = pathlib.Path('i.png')
    image(7).save(place)
    return Image.open(place)
"""
SKLEARN = """
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
"""

RINGS = """
class Atom:
    def __init__(self, molecule):
        self.molecule, self.next = molecule, None
class Molecule:
    pass
def rings(*sizes, turned=0):
    molecule = Molecule()
    molecule.atoms = [Atom(molecule) for _ in range(sum(sizes))]
    start = 0
    for size in sizes:
        ring = molecule.atoms[start:start + size]
        for place, atom in enumerate(ring):
            atom.next = ring[(place + 1) % size]
        start += size
    return molecule
def listed(*sizes):
    cells = [[] for _ in range(sum(sizes))]
    start = 0
    for size in sizes:
        for place in range(size):
            cells[start + place] += [cells[start + (place + 1) % size], cells]
        start += size
    return cells
class Looked:
    def __init__(self, looks):
        self.x = 1
        if looks:
            self.twice
    @functools.cached_property
    def twice(self):
        return 2 * self.x
    def __getstate__(self):
        return dict(self.__dict__)
"""

PAIRS = [
    # --- subclasses of builtins ---
    Pair("two rings and one", DIFFER, "rings(3, 3)", "rings(6)", RINGS),
    Pair("rings of other sizes", DIFFER, "rings(2, 4)", "rings(3, 3)", RINGS),
    Pair("rings in another order", DIFFER, "rings(2, 4)", "rings(4, 2)", RINGS),
    Pair("same rings", AGREE, "rings(3, 3)", "rings(3, 3)", RINGS),
    Pair("rings of lists", DIFFER, "listed(3, 3)", "listed(6)", RINGS),
    Pair("same rings of lists", AGREE, "listed(2, 4)", "listed(2, 4)", RINGS),
    Pair("looked at, with a __getstate__", AGREE, "Looked(True)", "Looked(False)", RINGS),
    Pair("attribute of a text's subclass", DIFFER, "Name('a', 'de')", "Name('a', 'fr')", SUBCLASSES),
    Pair("text and a subclass of it", DIFFER, "Name('a', 'de')", "'a'", SUBCLASSES),
    Pair("number and a subclass of it", DIFFER, "Count(1)", "1", SUBCLASSES),
    Pair("tuple and a subclass of it", DIFFER, "Row((1, 2))", "(1, 2)", SUBCLASSES),
    Pair("private attribute of a list's subclass", DIFFER, "words('m')", "words('km')", SUBCLASSES),
    Pair("attribute of a dict's subclass", DIFFER, "units('m')", "units('km')", SUBCLASSES),
    Pair("attribute of a set's subclass", DIFFER, "tags('m')", "tags('km')", SUBCLASSES),
    Pair("private attribute of a number's subclass", DIFFER, "Real(1.0, 'm')", "Real(1.0, 'km')", SUBCLASSES),
    Pair("decimal and a subclass of it", DIFFER, "Money('1.0')", "decimal.Decimal('1.0')", SUBCLASSES),
    Pair("path and a subclass of it", DIFFER, "Folder('a')", "pathlib.Path('a')", SUBCLASSES),
    Pair("duration and a subclass of it", DIFFER, "Span(1)", "dt.timedelta(1)", SUBCLASSES),
    Pair("moment and a subclass of it", DIFFER, "Moment(2024, 1, 1)", "dt.datetime(2024, 1, 1)", SUBCLASSES),
    Pair("bytes and a subclass of them", DIFFER, "Raw(b'a')", "b'a'", SUBCLASSES),
    Pair("private attribute of a UserDict", DIFFER, "Conf({'a': 1}, True)", "Conf({'a': 1}, False)", SUBCLASSES),
    Pair("items of a UserList", DIFFER, "Line([1])", "Line([2])", SUBCLASSES),
    Pair("same list's subclass", AGREE, "words('m')", "words('m')", SUBCLASSES),
    Pair("same text's subclass", AGREE, "Name('a', 'de')", "Name('a', 'de')", SUBCLASSES),
    # --- numbers, text and bytes ---
    Pair("large integers", DIFFER, "2**200", "2**200 + 1"),
    Pair("large integer and a float", DIFFER, "2**60", "float(2**60)"),
    Pair("sign of a zero in a tuple", DIFFER, "(0.0,)", "(-0.0,)"),
    Pair("not a number, made twice", AGREE, "float('nan')", "float('inf') - float('inf')"),
    Pair("true and one as keys", DIFFER, "{True: 'a'}", "{1: 'a'}"),
    Pair("one and 1.0 in a set", DIFFER, "{1}", "{1.0}"),
    Pair("lone surrogates", DIFFER, "'\\ud800'", "'\\ud801'"),
    Pair("composed and decomposed text", DIFFER, "'\\u00e9'", "'e\\u0301'"),
    Pair("bytes and a bytearray", DIFFER, "b'a'", "bytearray(b'a')"),
    Pair("digits of a decimal", DIFFER, "decimal.Decimal('1.0')", "decimal.Decimal('1.00')"),
    Pair("zero of a decimal, signed", DIFFER, "decimal.Decimal('0')", "decimal.Decimal('-0')"),
    Pair("decimal context's precision", DIFFER, "decimal.Context(prec=5)", "decimal.Context(prec=6)"),
    Pair("fractions", AGREE, "fractions.Fraction(2, 4)", "fractions.Fraction(1, 2)", "import fractions"),
    Pair("range that is empty in two ways", DIFFER, "range(0, 0)", "range(3)"),
    Pair("type of an array of the standard library", DIFFER, "array.array('i', [1])", "array.array('l', [1])", "import array"),
    # --- containers ---
    Pair("length that a deque keeps to", DIFFER, "collections.deque([1], maxlen=2)", "collections.deque([1], maxlen=3)"),
    Pair("deque and a list", DIFFER, "collections.deque([1])", "[1]"),
    Pair("counts", DIFFER, "collections.Counter('aab')", "collections.Counter('abb')"),
    Pair("counter and a dict", DIFFER, "collections.Counter(a=1)", "{'a': 1}"),
    Pair("layers of a ChainMap, split elsewhere", DIFFER, "collections.ChainMap({'a': 1}, {'b': 2})", "collections.ChainMap({'a': 1, 'b': 2})"),
    Pair("named tuples of two types", DIFFER, "A(1)", "B(1)", "A = collections.namedtuple('A', 'a')\nB = collections.namedtuple('B', 'a')"),
    Pair("default of a defaultdict", DIFFER, "collections.defaultdict(int, a=1)", "collections.defaultdict(list, a=1)"),
    Pair("read-only view of a dict", DIFFER, "types.MappingProxyType({'a': 1})", "types.MappingProxyType({'a': 2})"),
    Pair("keys of a dict", DIFFER, "{'a': 1}.keys()", "{'b': 1}.keys()"),
    Pair("namespace, nested", DIFFER, "types.SimpleNamespace(a=types.SimpleNamespace(_b=1))", "types.SimpleNamespace(a=types.SimpleNamespace(_b=2))"),
    Pair("same object twice and two equal ones", AGREE, "shared()", "{'a': [1], 'b': [[1]]}", OWN),
    Pair("frozen sets in a set", AGREE, "{frozenset({'a', 'b'}), frozenset({'c'})}", "{frozenset({'c'}), frozenset({'b', 'a'})}"),
    Pair("dict whose keys are a set of tuples", AGREE, "{('a', frozenset({'x', 'y'})): 1}", "{('a', frozenset({'y', 'x'})): 1}"),
    Pair("iterator half way", DIFFER, "itertools.islice([1, 2, 3], 1)", "itertools.islice([1, 2, 3], 2)"),
    Pair("cycle of values", DIFFER, "itertools.cycle([1])", "itertools.cycle([2])"),
    Pair("count from a number", DIFFER, "itertools.count(1)", "itertools.count(2)"),
    Pair("slices", DIFFER, "slice(1, 2)", "slice(1, 3)"),
    # --- the standard library ---
    Pair("flags of a pattern", DIFFER, "re.compile('a')", "re.compile('a', re.I)"),
    Pair("pattern of bytes", DIFFER, "re.compile('a')", "re.compile(b'a')"),
    Pair("match of a pattern", DIFFER, "re.match('a(.)', 'ab')", "re.match('a(.)', 'ac')"),
    Pair("fold of a moment", DIFFER, "dt.datetime(2024, 10, 27, 2, fold=0)", "dt.datetime(2024, 10, 27, 2, fold=1)"),
    Pair("fixed and named zone", DIFFER, "dt.timezone(dt.timedelta(hours=1))", "dt.timezone(dt.timedelta(hours=2))"),
    Pair("zones by name", DIFFER, "zoneinfo.ZoneInfo('Europe/Zurich')", "zoneinfo.ZoneInfo('Europe/London')", "import zoneinfo", "tzdata"),
    Pair("same zone by name", AGREE, "dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Zurich'))", "dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Zurich'))", "import zoneinfo", "tzdata"),
    Pair("flags of two enums", DIFFER, "Perm.R | Perm.W", "Other.R | Other.W", ENUMS),
    Pair("combined flags", DIFFER, "Perm.R | Perm.W", "Perm.R", ENUMS),
    Pair("same combined flags", AGREE, "Perm.R | Perm.W", "Perm(3)", ENUMS),
    Pair("member of an integer enum and the integer", DIFFER, "Level.LOW", "1", ENUMS),
    Pair("arguments of an exception", DIFFER, "ValueError('a', 1)", "ValueError('a', 2)"),
    Pair("cause of an exception", DIFFER, "failed(1)", "failed(2)", "def failed(k):\n    e = ValueError('a')\n    e.__cause__ = KeyError(k)\n    return e"),
    Pair("bytes in memory, read or not", DIFFER, "io.BytesIO(b'ab')", "read()", "def read():\n    b = io.BytesIO(b'ab')\n    b.read(1)\n    return b"),
    Pair("state of random numbers", DIFFER, "random.Random(1)", "random.Random(2)", "import random"),
    Pair("unions of types", DIFFER, "int | str", "int | None"),
    Pair("annotated types", DIFFER, "typing.Annotated[int, 1]", "typing.Annotated[int, 2]"),
    Pair("kinds of path", DIFFER, "pathlib.PurePosixPath('a')", "pathlib.PureWindowsPath('a')"),
    Pair("networks", DIFFER, "ipaddress.ip_network('10.0.0.0/8')", "ipaddress.ip_network('10.0.0.0/9')", "import ipaddress"),
    Pair("identifiers", AGREE, "uuid.UUID(int=1)", "uuid.UUID('00000000-0000-0000-0000-000000000001')", "import uuid"),
    Pair("tree of XML", DIFFER, "ET.fromstring('<a b=\"1\"/>')", "ET.fromstring('<a b=\"2\"/>')", "import xml.etree.ElementTree as ET"),
    Pair("weak reference", DIFFER, "weakref.ref(KEPT[0])", "weakref.ref(KEPT[1])", "import weakref\nclass A: pass\nKEPT = [A(), A()]\nKEPT[0].k, KEPT[1].k = 1, 2"),
    Pair("context variable's value", DIFFER, "variable(1)", "variable(2)", "import contextvars\ndef variable(k):\n    v = contextvars.ContextVar('v')\n    v.set(k)\n    return v"),
    # --- functions as values ---
    Pair("closure", DIFFER, "adder(1)", "adder(2)", OWN),
    Pair("same closure", AGREE, "adder(1)", "adder(1)", OWN),
    Pair("keyword of a partial", DIFFER, "functools.partial(pair, other=1)", "functools.partial(pair, other=2)", OWN),
    Pair("method of an object with private state", DIFFER, "Scale(1).go", "Scale(2).go", OWN),
    Pair("callable with private state", DIFFER, "Scale(1)", "Scale(2)", OWN),
    Pair("method of a builtin object", DIFFER, "{'a': 1}.get", "{'a': 2}.get"),
    Pair("attribute of a function", DIFFER, "marked(1)", "marked(2)", "def marked(k):\n    def g(x): return x\n    g.k = k\n    return g"),
    Pair("getter of items", DIFFER, "operator.itemgetter(0)", "operator.itemgetter(1)", "import operator"),
    Pair("ufunc out of a lambda", DIFFER, "np.frompyfunc(lambda v: v + 1, 1, 1)", "np.frompyfunc(lambda v: v + 2, 1, 1)"),
    Pair("classes of one name", DIFFER, "made(1)", "made(2)", "def made(k):\n    class A:\n        v = k\n    return A"),
    # --- objects of one's own ---
    Pair("private attribute behind a mangled name", DIFFER, "Mangled(1)", "Mangled(2)", OWN),
    Pair("private slot of a subclass", DIFFER, "Deep(1, 2)", "Deep(1, 3)", OWN),
    Pair("slot of the base", DIFFER, "Deep(1, 2)", "Deep(2, 2)", OWN),
    Pair("slots and attributes", DIFFER, "Mixed(1, 2)", "Mixed(1, 3)", OWN),
    Pair("what __getstate__ leaves out", AGREE, "Stated(1, {'a': 1})", "Stated(1, {})", OWN),
    Pair("what __cache_key__ leaves out", AGREE, "Keyed(1, object())", "Keyed(1, None)", OWN),
    Pair("what __cache_key__ says", DIFFER, "Keyed(1, None)", "Keyed(2, None)", OWN),
    Pair("private field of a dataclass with slots", DIFFER, "Cell(1, 2)", "Cell(1, 3)", OWN),
    Pair("cached property of a dataclass that was looked at", AGREE, "Cached(1)", "looked()", OWN),
    Pair("private field of a dataclass within another", DIFFER, "Outer(Cell(1, 2))", "Outer(Cell(1, 3))", OWN),
    Pair("field that is neither shown nor compared", DIFFER, "Outer(Cell(1), [1])", "Outer(Cell(1), [2])", OWN),
    Pair("object that knows itself", DIFFER, "loop(1)", "loop(2)", OWN),
    Pair("same object that knows itself", AGREE, "loop(1)", "loop(1)", OWN),
    Pair("sets of objects that know each other", AGREE, "knot(True)", "knot(False)", OWN),
    Pair("order of attributes", AGREE, "Plain(a=1, b=2)", "Plain(b=2, a=1)", OWN),
    # --- NumPy ---
    Pair("private attribute of an array's subclass", DIFFER, "labelled('m')", "labelled('km')", ARRAYS),
    Pair("number under a mask", DIFFER, "np.ma.array([1, 2], mask=[0, 0])", "np.ma.array([1, 2], mask=[0, 1])"),
    Pair("no mask and a mask of nothing", DIFFER, "soft([0, 0, 1])", "soft([0, 1, 0])", ARRAYS),
    Pair("byte order of an array", DIFFER, "np.array([1], '<i4')", "np.array([1], '<i4').view('>i4')"),
    Pair("slice of an array with a step", AGREE, "np.arange(6)[::2]", "np.array([0, 2, 4])"),
    Pair("names of a record's fields", DIFFER, "np.zeros(1, [('a', 'i4')])", "np.zeros(1, [('b', 'i4')])"),
    Pair("None and nan in an array of objects", DIFFER, "np.array([None], dtype=object)", "np.array([float('nan')], dtype=object)"),
    Pair("text of an array of objects", DIFFER, "np.array(['a', 1], dtype=object)", "np.array(['a', 1.0], dtype=object)"),
    Pair("length of text in an array", DIFFER, "np.array(['a'], 'U1')", "np.array(['a'], 'U2')"),
    Pair("numbers of NumPy and of Python", DIFFER, "np.float64(1.0)", "1.0"),
    Pair("state of NumPy's random numbers", DIFFER, "np.random.default_rng(1)", "np.random.default_rng(2)"),
    # --- pandas ---
    Pair("metadata of a series' subclass", DIFFER, "tagged('a')", "tagged('b')", PANDAS),
    Pair("attributes of a series", DIFFER, "noted(1)", "noted(2)", PANDAS),
    Pair("name of an index", DIFFER, "pd.Index([1], name='a')", "pd.Index([1], name='b')"),
    Pair("names of levels", DIFFER, "pd.MultiIndex.from_tuples([(1, 2)], names=['a', 'b'])", "pd.MultiIndex.from_tuples([(1, 2)], names=['a', 'c'])"),
    Pair("step of a range index", DIFFER, "pd.Series([1, 2], index=pd.RangeIndex(0, 4, 2))", "pd.Series([1, 2], index=pd.RangeIndex(0, 2))"),
    Pair("frequency of a date index", DIFFER, "pd.date_range('2024', periods=3, freq='D')", "pd.DatetimeIndex(pd.date_range('2024', periods=3, freq='D'), freq=None)"),
    Pair("zone of a column", DIFFER, "pd.Series(pd.to_datetime(['2024'], utc=True))", "pd.Series(pd.to_datetime(['2024']))"),
    Pair("nullable integers", DIFFER, "pd.Series([1, None], dtype='Int64')", "pd.Series([1, None])"),
    Pair("categories that do not occur", DIFFER, "pd.Categorical(['a'], categories=['a', 'b'])", "pd.Categorical(['a'], categories=['a'])"),
    Pair("frame with a sparse column", DIFFER, "pd.DataFrame({'a': pd.arrays.SparseArray([0, 1])})", "pd.DataFrame({'a': pd.arrays.SparseArray([0, 2])})"),
    Pair("periods", DIFFER, "pd.Period('2024-01', 'M')", "pd.Period('2024-02', 'M')"),
    Pair("offsets", DIFFER, "pd.offsets.Day(1)", "pd.offsets.Day(2)"),
    Pair("lists in a column", DIFFER, "pd.Series([[1]])", "pd.Series([[2]])"),
    # --- Polars and Arrow ---
    Pair("zone of a column of Polars", DIFFER, "pl.Series([dt.datetime(2024, 1, 1)]).dt.replace_time_zone('UTC')", "pl.Series([dt.datetime(2024, 1, 1)])"),
    Pair("unit of a column of Polars", DIFFER, "pl.Series([1], dtype=pl.Datetime('ms'))", "pl.Series([1], dtype=pl.Datetime('us'))"),
    Pair("chunks of a frame", AGREE, "pl.concat([pl.DataFrame({'a': [1]}), pl.DataFrame({'a': [2]})], rechunk=False)", "pl.DataFrame({'a': [1, 2]})"),
    Pair("objects in a column of Polars", DIFFER, "pl.Series('a', [object], dtype=pl.Object)", "pl.Series('a', [int], dtype=pl.Object)"),
    Pair("metadata of a schema", DIFFER, "pa.schema([('a', pa.int8())], metadata={'k': '1'})", "pa.schema([('a', pa.int8())], metadata={'k': '2'})"),
    Pair("metadata of a table", DIFFER, "pa.table({'a': [1]}).replace_schema_metadata({'k': '1'})", "pa.table({'a': [1]}).replace_schema_metadata({'k': '2'})"),
    Pair("words of a dictionary", AGREE, "pa.array(['a', 'b']).dictionary_encode()", "pa.array(['a', 'b']).dictionary_encode()"),
    Pair("slice of a table", AGREE, "pa.table({'a': [0, 1, 2]}).slice(1)", "pa.table({'a': [1, 2]})"),
    Pair("number of Arrow", DIFFER, "pa.scalar(1, pa.int8())", "pa.scalar(1, pa.int16())"),
    # --- others' ---
    Pair("attribute of an edge", DIFFER, "weighted(1)", "weighted(2)", GRAPHS),
    Pair("attribute of a graph", DIFFER, "graph(k=1)", "graph(k=2)", GRAPHS),
    Pair("kinds of graph", DIFFER, "nx.Graph([(1, 2)])", "nx.DiGraph([(1, 2)])", GRAPHS),
    Pair("pixels", DIFFER, "image(1)", "image(2)", IMAGES, "PIL"),
    Pair("modes of an image", DIFFER, "image(1, 'L')", "image(1, 'P')", IMAGES, "PIL"),
    Pair("image from a file", AGREE, "saved()", "saved()", IMAGES, "PIL"),
    Pair("step of a pipeline", DIFFER, "make_pipeline(FunctionTransformer(lambda v: v + 1))", "make_pipeline(FunctionTransformer(lambda v: v + 2))", SKLEARN, "sklearn"),
    Pair("fitted scaler", DIFFER, "StandardScaler().fit([[0], [1]])", "StandardScaler().fit([[0], [2]])", SKLEARN, "sklearn"),
    Pair("fitted and not fitted", DIFFER, "StandardScaler()", "StandardScaler().fit([[0], [1]])", SKLEARN, "sklearn"),
    Pair("same tree", AGREE, "DecisionTreeClassifier(random_state=0).fit([[0], [1]], [0, 1])", "DecisionTreeClassifier(random_state=0).fit([[0], [1]], [0, 1])", SKLEARN, "sklearn"),
    Pair("sparse matrices", DIFFER, "sparse.csr_matrix([[0, 1]])", "sparse.csr_matrix([[0, 2]])", "from scipy import sparse", "scipy"),
    Pair("forms of a sparse matrix", DIFFER, "sparse.csr_matrix([[0, 1]])", "sparse.csc_matrix([[0, 1]])", "from scipy import sparse", "scipy"),
    Pair("coordinates of an xarray", DIFFER, "xr.DataArray([1], coords={'a': [1]}, dims='a')", "xr.DataArray([1], coords={'a': [2]}, dims='a')", "import xarray as xr", "xarray"),
    Pair("templates", DIFFER, "jinja2.Template('a')", "jinja2.Template('b')", "import jinja2", "jinja2"),
]

if __name__ == "__main__":
    in_form(PAIRS)
