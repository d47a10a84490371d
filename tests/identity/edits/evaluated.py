"""Edits of what code reads by a text, a name or an order: `DataFrame.query`, `agg`, `vars`."""

from _edit import HIT, Edit, in_form

FRAME = "import pandas as pd\nK = 1\nOTHER = 1\nD = pd.DataFrame({'a': [1, 2, 3]})\n"
SPREAD = "def spread(s): return s.max() - s.min()\n"
BY_NAME = [("spread", "width")]
BY_K = [("K = 1", "K = 2")]
EDITS = [
    Edit(
        "query text in a table",
        "evaluated text",
        FRAME + "Q = {'big': 'a > @K'}\ndef f(x): return D.query(Q['big']).a.tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "query text given to a helper",
        "evaluated text",
        FRAME + "def sel(d, q): return d.query(q)\ndef f(x): return sel(D, 'a > @K').a.tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "query text in a default",
        "evaluated text",
        FRAME + "def f(x, q='a > @K'): return D.query(q).a.tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "query text in a class",
        "evaluated text",
        FRAME + "class C:\n    q = 'a > @K'\ndef f(x): return D.query(C.q).a.tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "query text of a closure",
        "evaluated text",
        FRAME
        + "def make(q):\n    return lambda d: d.query(q)\nsel = make('a > @K')\ndef f(x): return sel(D).a.tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "query text of a methodcaller",
        "evaluated text",
        FRAME
        + "import operator\nQ = operator.methodcaller('query', 'a > @K')\ndef f(x): return Q(D).a.tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "eval with a text in a table",
        "evaluated text",
        FRAME + "Q = {'big': 'a + @K'}\ndef f(x): return D.eval(Q['big']).tolist()\n",
        BY_K,
        needs="pandas",
    ),
    Edit(
        "name of an inner function of agg",
        "evaluated text",
        "import pandas as pd\ndef f(x):\n    def spread(s): return s.max() - s.min()\n    return list(pd.DataFrame({'a': [1, 2, 3]}).agg(['sum', spread]).index)\n",
        BY_NAME,
        needs="pandas",
    ),
    Edit(
        "name of a function of agg in a list",
        "evaluated text",
        FRAME + SPREAD + "AGGS = [spread]\ndef f(x): return list(D.agg(['sum', *AGGS]).index)\n",
        BY_NAME,
        needs="pandas",
    ),
    Edit(
        "name of a function of a grouped agg",
        "evaluated text",
        FRAME + SPREAD + "def f(x): return list(D.groupby('a').a.agg(['sum', spread]).columns)\n",
        BY_NAME,
        needs="pandas",
    ),
    Edit(
        "local renamed beside agg",
        "evaluated text",
        FRAME + "def f(x):\n    total = D.agg(lambda s: s.sum())\n    return float(total.a)\n",
        [("total = D", "whole = D"), ("float(total", "float(whole")],
        HIT,
        needs="pandas",
    ),
    Edit(
        "order of a namespace's attributes",
        "order",
        "import types\nN = types.SimpleNamespace(a=1, b=2)\ndef f(x): return list(vars(N))\n",
        [("a=1, b=2", "b=2, a=1")],
    ),
    Edit(
        "order of attributes that are set by name",
        "order",
        "class C:\n    def __init__(self, **k): self.__dict__.update(k)\nN = C(a=1, b=2)\ndef f(x): return list(N.__dict__)\n",
        [("a=1, b=2", "b=2, a=1")],
    ),
    Edit(
        "order of keys",
        "order",
        "K = {'a': 1, 'b': 2}.keys()\ndef f(x): return list(K)\n",
        [("'a': 1, 'b': 2", "'b': 2, 'a': 1")],
    ),
    Edit(
        "order of items",
        "order",
        "K = {'a': 1, 'b': 2}.items()\ndef f(x): return list(K)\n",
        [("'a': 1, 'b': 2", "'b': 2, 'a': 1")],
    ),
    Edit(
        "order of attributes that nobody lists",
        "order",
        "import types\nN = types.SimpleNamespace(a=1, b=2)\ndef f(x): return N.a + x\n",
        [("a=1, b=2", "b=2, a=1")],
        HIT,
    ),
    Edit(
        "constant that a query does not name",
        "evaluated text",
        FRAME + "def f(x): return D.query('a > @K').a.tolist()\n",
        [("OTHER = 1", "OTHER = 2")],
        HIT,
        needs="pandas",
    ),
    Edit(
        "constant beside a query that names none",
        "evaluated text",
        FRAME + "def f(x): return D.query('a > 1', inplace=False).a.tolist()\n",
        [("OTHER = 1", "OTHER = 2")],
        HIT,
        needs="pandas",
    ),
]

if __name__ == "__main__":
    in_form(EDITS)
