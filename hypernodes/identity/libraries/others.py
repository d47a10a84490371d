"""Values of scikit-learn, NetworkX, Pillow, xarray and astropy."""

from __future__ import annotations

import importlib
from typing import Any

from hypernodes.identity.libraries._state import held
from hypernodes.identity.libraries.numeric import _OF_MASKED
from hypernodes.identity.traversal import words
from hypernodes.identity.values import Parts, Unidentifiable, identify, when_met


@when_met("sklearn")
def _estimators() -> None:
    """scikit-learn's estimators, by what they are pickled with."""
    base = importlib.import_module("sklearn.base")

    @identify.register(base.BaseEstimator)
    def _estimator(value: Any) -> Parts:
        # A vectorizer notes the address of the stop words that it has checked.
        return held("estimator", value, value.__getstate__(), {"_stop_words_id"})


@when_met("sklearn.neighbors")
def _trees() -> None:
    """scikit-learn's trees, without their count of queries."""
    neighbors = importlib.import_module("sklearn.neighbors")

    @identify.register(neighbors.KDTree)
    @identify.register(neighbors.BallTree)
    def _tree(value: Any) -> Parts:
        data, order, nodes, bounds, leaf, levels, count, *_, metric, weights = value.__getstate__()
        about = [data, order, nodes, bounds, leaf, levels, count, metric, weights]
        return Parts("tree of neighbours", about)


@when_met("networkx")
def _graphs() -> None:
    """NetworkX's graphs.

    The order of nodes and of neighbours counts: it is the order of rows in a matrix, of ties in a
    search and of what a drawing draws first.
    """
    networkx = importlib.import_module("networkx")

    @identify.register(networkx.Graph)
    def _graph(value: Any) -> Parts:
        nodes, ways = value._node, value._adj
        about = [value.is_directed(), value.is_multigraph(), value.graph, list(nodes), list(ways)]
        about.append([*nodes.values()])
        about.append([len(ends) for ends in ways.values()])
        about.append([end for ends in ways.values() for end in ends])
        edges = [edge for ends in ways.values() for edge in ends.values()]
        if value.is_multigraph():
            about.append([key for edge in edges for key in edge])
            about.append([len(edge) for edge in edges])
            edges = [each for edge in edges for each in edge.values()]
        about.append({place: edge for place, edge in enumerate(edges) if edge})
        if value.is_directed():
            about.append([start for starts in value._pred.values() for start in starts])
        return Parts("graph", about, covers=_OF_GRAPH)


_OF_GRAPH = words(
    """
    graph _node _adj _succ _pred nodes edges adj succ pred degree in_degree out_degree in_edges
    out_edges __networkx_cache__ _graph _NODE_OK _EDGE_OK
    """
)


@when_met("PIL")
def _images() -> None:
    """Pillow's images, wherever they were read from."""
    image = importlib.import_module("PIL.Image")

    @identify.register(image.Image)
    def _image(value: Any) -> Parts:
        if getattr(value, "n_frames", 1) > 1:
            raise Unidentifiable("an image of several frames shows one of them: give the file")
        value.load()
        palette = value.palette
        colours = palette and (palette.mode, palette.rawmode, bytes(palette.palette))
        about = [value.mode, value.size, value.format, value.info, colours, value.tobytes()]
        own = type(value).__module__.partition(".")[0] != "PIL"
        return Parts("image", about, covers=_OF_IMAGE if own else frozenset(vars(value)))


_OF_IMAGE = words(
    """
    im _im _mode _size palette info readonly _readonly pyaccess _exif _category is_animated
    """
)


@when_met("PIL.ImageFont")
def _fonts() -> None:
    """Pillow's fonts, which are declined: what is in their files does not show."""
    font = importlib.import_module("PIL.ImageFont")

    @identify.register(font.ImageFont)
    @identify.register(font.FreeTypeFont)
    @identify.register(font.TransposedFont)
    def _font(value: object) -> Parts:
        raise Unidentifiable("a font of Pillow comes from a file: give its path and size")


@when_met("xarray")
def _xarray() -> None:
    """xarray's variables and datasets; data in files or in a Dask graph are declined."""
    xarray = importlib.import_module("xarray")

    @identify.register(xarray.Variable)
    def _variable(value: Any) -> Parts:
        if not value._in_memory:
            raise Unidentifiable("an xarray whose data are not in memory: give it after load()")
        about = [value.dims, value.attrs, value.encoding, value.values]
        return Parts("variable", about, covers=_OF_VARIABLE)

    @identify.register(xarray.Dataset)
    def _dataset(value: Any) -> Parts:
        # Attributes are None until somebody looks at them.
        about = [value._attrs or {}, value._encoding or {}]
        about += [value._variables, value._coord_names, value._indexes]
        return Parts("dataset", about, covers=_OF_DATASET)


_OF_DATASET = words("_attrs _cache _close _coord_names _dims _encoding _indexes _variables")
_OF_VARIABLE = words("_dims _data _attrs _encoding")


@when_met("astropy")
def _data_info() -> None:
    """What astropy notes of a value, whichever value that is."""
    data_info = importlib.import_module("astropy.utils.data_info")

    @identify.register(data_info.DataInfo)
    def _notes(value: Any) -> Parts:
        notes = {name: item for name, item in value._attrs.items() if name not in _OF_NOTES}
        return Parts("notes", [notes], covers=_OF_NOTES)


@when_met("astropy.table")
def _tables() -> None:
    """astropy's tables and columns, which refer to each other."""
    numpy = importlib.import_module("numpy")
    table = importlib.import_module("astropy.table")

    @identify.register(table.Table)
    def _table(value: Any) -> Parts:
        columns = list(value.columns.values())
        about = [value.colnames, value.meta, value.masked, value.primary_key, *columns]
        return Parts("astropy table", about, covers=_OF_TABLE)

    def about(value: Any) -> list[object]:
        return [value.name, value.unit, value.format, value.description, value.meta]

    @identify.register(table.Column)
    def _column(value: Any) -> Parts:
        bare = value.view(numpy.ndarray)
        return Parts("astropy column", [*about(value), bare], covers=_OF_TABLE)

    @identify.register(table.MaskedColumn)
    def _masked(value: Any) -> Parts:
        bare = value.view(numpy.ma.MaskedArray)
        fill = numpy.asarray(value.fill_value)
        parts = [*about(value), bare.data, numpy.ma.getmaskarray(bare), fill, bare.hardmask]
        return Parts("astropy column", parts, covers=_OF_TABLE | _OF_MASKED)


@when_met("astropy.coordinates")
def _coordinates() -> None:
    """astropy's coordinates, without the frames they were turned into."""
    coordinates = importlib.import_module("astropy.coordinates")

    @identify.register(coordinates.SkyCoord)
    @identify.register(coordinates.BaseCoordinateFrame)
    @identify.register(coordinates.BaseRepresentation)
    @identify.register(coordinates.BaseDifferential)
    def _coordinate(value: Any) -> Parts:
        return held("coordinate", value, vars(value), {"cache"})


_OF_NOTES = words("_attrs _parent_ref _parent_cls _parent parent_table indices")
_OF_TABLE = words(
    """
    columns _meta _masked primary_key _column_class formatter _copy_indices _init_indices _name
    _unit _format description info indices _indices _parent_table meta
    """
)
