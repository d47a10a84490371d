"""Values of NumPy, SciPy and PyTorch."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hypernodes.identity.libraries._state import held
from hypernodes.identity.packages import origin
from hypernodes.identity.traversal import words
from hypernodes.identity.values import Parts, Raw, Unidentifiable, identify, when_met

if TYPE_CHECKING:
    import numpy as np


@when_met("numpy")
def _numpy() -> None:
    """NumPy: arrays, scalars, types and functions."""
    import numpy as np

    # The 80 bits of x86 lie in 12 or 16 bytes, and nobody fills the rest.
    extended = np.finfo(np.longdouble).nmant == 63

    def content(value: Any) -> Iterator[object]:
        dtype = value.dtype
        if dtype.names is not None:  # field by field, for what lies between them is random
            for name in dtype.names:
                yield value[name]
        elif dtype.hasobject or dtype.kind == "T":  # StringDType has its texts elsewhere
            yield value.reshape(-1).tolist()
        else:
            flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            if extended and dtype.char in "gG":
                parts = flat.reshape(-1, np.dtype(np.longdouble).itemsize)
                flat = np.ascontiguousarray(parts[:, :10]).reshape(-1)
            yield Raw(flat)

    def kind(dtype: Any) -> object:
        return dtype.str if dtype.char in _NAME_SAYS_ALL and not dtype.metadata else dtype

    @identify.register(np.ndarray)
    def _array(value: Any) -> Parts:
        bare = value if type(value) is np.ndarray else value.view(np.ndarray)
        return Parts("ndarray", [kind(value.dtype), value.shape, *content(bare)], covers=_OF_MEMMAP)

    @identify.register(np.ma.MaskedArray)
    def _masked(value: Any) -> Parts:
        # What lies under the mask counts: `data` shows it, and a soft mask can be lifted.
        return Parts(
            "masked array",
            [
                np.ma.getdata(value), np.ma.getmaskarray(value), value.hardmask,
                np.asarray(value.fill_value), value.baseclass,
            ],
            covers=_OF_MASKED,
        )  # fmt: skip

    @identify.register(np.generic)
    def _scalar(value: Any) -> Parts:
        if value.dtype.char in _NAME_SAYS_ALL and value.dtype.char not in "gG":
            return Parts("numpy scalar", [value.dtype.str, value.tobytes()])
        return Parts("numpy scalar", [np.asarray(value)])

    @identify.register(np.dtype)
    def _dtype(value: Any) -> Parts:
        about = [value.str, value.type, value.itemsize, value.isalignedstruct]
        about.append(dict(value.metadata or {}))
        if value.subdtype is not None:
            about += [kind(value.base), value.shape]
        elif value.names is not None:
            for name, (inner, *place) in value.fields.items():  # with titles, as names of theirs
                about += [name, kind(inner), *place]
        elif value.kind == "T":
            about += [value.coerce, hasattr(value, "na_object"), getattr(value, "na_object", None)]
        return Parts("dtype", about)

    @identify.register(np.ufunc)
    def _ufunc(value: np.ufunc) -> Parts:
        home = _home_of(value)
        if home is None:
            raise Unidentifiable(
                f"the ufunc {value.__name__!r} is made of a function that cannot be seen into: "
                "use the function itself"
            )
        return Parts("ufunc", [home, value.__name__])

    @identify.register(np.vectorize)
    def _vectorize(value: np.vectorize) -> Parts:
        return held("vectorize", value, vars(value), {"_ufunc"})  # which the first call makes

    @identify.register(np.nditer)
    @identify.register(np.flatiter)
    @identify.register(np.broadcast)
    def _iterator(value: object) -> Parts:
        raise Unidentifiable(f"{type(value).__name__} of NumPy is used up as it is read")


_NAME_SAYS_ALL = frozenset("?bBhHiIlLqQefdgFDGSUmM")
"""Characters of the types of which `dtype.str` says all: no fields, no parameters of libraries."""

_OF_MEMMAP = words("_mmap filename offset mode")
_OF_MASKED = words("_mask _fill_value _hardmask _sharedmask _isfield _baseclass _basedict")


@functools.lru_cache(maxsize=1024)
def _home_of(ufunc: np.ufunc) -> str | None:
    """The installed package in which a ufunc is found by its name, as `pickle` finds it."""
    for name, module in list(sys.modules.items()):
        if vars(module).get(ufunc.__name__) is ufunc and "__main__" not in name:
            home = origin(name)
            if home is not None:
                return home
    return None


@when_met("scipy")
def _sparse_arrays() -> None:
    """SciPy's sparse arrays, whatever the order of their entries."""
    import numpy as np
    from scipy import sparse

    def _sparse(value: Any) -> Parts:
        # Operations that only read sort the entries and sum duplicates in place: neither counts.
        # A zero that is stored stays until one asks for it to go, and `data` shows it.
        entries = value.tocoo(copy=True)
        entries.sum_duplicates()
        places = getattr(entries, "coords", None) or (entries.row, entries.col)
        about = [value.format, value.shape, getattr(value, "blocksize", None)]
        about.append(np.sort(value.offsets) if value.format == "dia" else None)
        places = [np.asarray(each, np.int64) for each in places]
        return Parts("sparse", [*about, *places, entries.data], covers=_OF_SPARSE)

    kinds = [sparse.spmatrix, *([sparse.sparray] if hasattr(sparse, "sparray") else [])]
    for kind in kinds:
        identify.register(kind, _sparse)


_OF_SPARSE = words(
    """
    _shape data row col coords indices indptr offsets rows _dict has_canonical_format
    has_sorted_indices _has_canonical_format _has_sorted_indices dtype maxprint
    """
)


@when_met("scipy.spatial")
def _trees() -> None:
    """SciPy's trees, by their data: they are pickled with addresses."""
    from scipy import spatial

    @identify.register(spatial.cKDTree)
    def _tree(value: Any) -> Parts:
        return Parts(
            "k-d tree", [value.data, value.leafsize, value.boxsize, value.indices, value.size]
        )


@when_met("scipy.stats")
def _distributions() -> None:
    """SciPy's distributions, without what they cache."""
    import numpy as np
    from scipy import stats

    kinds = {kind.__name__: kind for each in (stats.norm, stats.norm(), stats.multivariate_normal)
             for kind in type(each).__mro__}  # fmt: skip

    @identify.register(kinds["rv_generic"])
    @identify.register(kinds["multi_rv_generic"])
    def _distribution(value: Any) -> Parts:
        # The methods that are written anew for each process are not in the state for `pickle`.
        state = value.__getstate__() if hasattr(value, "_updated_ctor_param") else vars(value)
        return held("distribution", value, state, state_of_chance(state))

    def state_of_chance(state: dict[str, object]) -> set[str]:
        # The random state that all of them share by default belongs to none of them.
        common = state.get("_random_state") is np.random.mtrand._rand
        return {"_random_state", "__doc__"} if common else {"__doc__"}

    if hasattr(stats, "Normal"):  # SciPy 1.15's distributions cache what they compute
        home = "scipy.stats._distribution_infrastructure"
        bases = [kind for kind in stats.Normal.__mro__ if kind.__module__ == home]

        @identify.register(bases[-1])
        def _computed(value: Any) -> Parts:
            caches = {name for name in vars(value) if name.endswith("_cache")}
            return held("univariate", value, vars(value), caches)


@when_met("torch")
def _torch() -> None:
    """PyTorch: tensors, and modules by their parameters and buffers."""
    import torch

    @identify.register(torch.Tensor)
    def _tensor(value: Any) -> Parts:
        about = [str(value.dtype), tuple(value.shape), value.device.type, value.requires_grad]
        if value.is_quantized or value.is_meta:
            raise Unidentifiable(f"a tensor of type {value.dtype} on {value.device}")
        bare = value.detach()
        if value.layout is not torch.strided:
            entries = bare.to_sparse_coo().coalesce()
            return Parts("sparse tensor", [*about, str(value.layout), entries.indices(),
                                           entries.values()])  # fmt: skip
        flat = bare.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return Parts("tensor", [*about, Raw(flat.view(torch.uint8).numpy())])

    @identify.register(torch.nn.Module)
    def _module(value: Any) -> Parts:
        held = [vars(value)[name] for name in ("_parameters", "_buffers", "_modules")]
        return Parts("torch module", map(dict, held), covers=_OF_MODULE)


# Recurrent layers hold their parameters a second time, and by weak references.
_OF_MODULE = words("_parameters _buffers _modules _flat_weights _flat_weight_refs")
