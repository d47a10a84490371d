
import pk
def use(x):
    for name in vars(pk): pass
    return len(vars(pk))
class Row:
    def __init__(s): s.a=1
def use2(x):
    h = helper(pk)
    return vars(Row())
def helper(m): return m.A
import pk.s1, pk.s2
