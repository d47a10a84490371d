"""Values of Arrow."""

from __future__ import annotations

from collections.abc import Iterator

from hypernodes.identity.values import Parts, Raw, Unidentifiable, identify, when_met


@when_met("pyarrow")
def _pyarrow() -> None:
    """Arrow's tables and arrays, whatever their chunks and offsets, and what lies under a null."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.types as types

    @identify.register(pa.Table)
    @identify.register(pa.RecordBatch)
    def _table(value: pa.Table | pa.RecordBatch) -> Parts:
        kind = "arrow table" if isinstance(value, pa.Table) else "arrow batch"
        return Parts(kind, [value.schema, value.num_rows, *value.columns])

    @identify.register(pa.ChunkedArray)
    @identify.register(pa.Array)
    def _array(value: pa.Array | pa.ChunkedArray) -> Parts:
        kind = "arrow chunks" if isinstance(value, pa.ChunkedArray) else "arrow array"
        # The name of a type without parts says all, and is quicker.
        has_parts = value.type.num_fields or not is_named(value.type)
        about = value.type if has_parts else str(value.type)
        return Parts(kind, [about, len(value), *content(in_one(value))])

    def is_named(kind: pa.DataType) -> bool:
        return bool(types.is_primitive(kind)) or is_text(kind)

    def in_one(value: pa.Array | pa.ChunkedArray) -> pa.Array:
        """One array out of chunks, whose dictionaries become one."""
        if not isinstance(value, pa.ChunkedArray):
            return value
        if value.num_chunks == 1:
            return value.chunk(0)
        if value.num_chunks == 0:
            return pa.nulls(0, value.type)
        return pa.concat_arrays(value.unify_dictionaries().chunks)

    def content(value: pa.Array) -> Iterator[object]:
        """What an array holds, each part of it without nulls and in one piece."""
        kind = value.type
        if isinstance(kind, pa.BaseExtensionType):
            yield from content(value.storage)
            return
        if types.is_union(kind):
            yield from variants(value)
            return
        if types.is_run_end_encoded(kind):
            yield from content(compute.run_end_decode(value))
            return
        if value.null_count:
            yield value.is_null().to_numpy(zero_copy_only=False)
            value = value.drop_null()
        if types.is_null(kind):
            return
        if types.is_dictionary(kind):  # `to_pandas` makes categories of all of the dictionary
            yield value.dictionary
            yield value.indices
        elif types.is_boolean(kind):
            yield value.to_numpy(zero_copy_only=False)
        elif types.is_map(kind):  # which has nothing to flatten it by
            places = value.offsets
            yield compute.pairwise_diff(places)
            first, length = places[0].as_py(), places[-1].as_py() - places[0].as_py()
            yield value.keys.slice(first, length)
            yield value.items.slice(first, length)
        elif types.is_fixed_size_list(kind) or is_list(kind):
            if not types.is_fixed_size_list(kind):
                yield compute.list_value_length(value).to_numpy(zero_copy_only=False)
            yield value.flatten()
        elif types.is_struct(kind):
            yield from value.flatten()
        elif is_text(kind):
            yield from texts(value)
        else:
            width = kind.bit_width // 8
            data = value.buffers()[1]
            start = value.offset * width
            if data is not None:
                yield Raw(data[start : start + len(value) * width])

    def is_list(kind: pa.DataType) -> bool:
        names = ("is_list", "is_large_list", "is_list_view", "is_large_list_view")
        return any(getattr(types, name)(kind) for name in names if hasattr(types, name))

    views = {
        getattr(pa, f"{name}_view")(): getattr(pa, f"large_{name}")()
        for name in ("string", "binary")
        if hasattr(pa, f"{name}_view")
    }

    def is_text(kind: pa.DataType) -> bool:
        names = ("is_string", "is_binary", "is_large_string", "is_large_binary")
        if isinstance(kind, pa.BaseExtensionType):  # not all can be hashed
            return False
        return kind in views or any(getattr(types, name)(kind) for name in names)

    def texts(value: pa.Array) -> Iterator[object]:
        if value.type in views:
            value = value.cast(views[value.type])
        large = types.is_large_string(value.type) or types.is_large_binary(value.type)
        _, ends, data = value.buffers()
        if not len(value) or ends is None:
            return
        places = np.frombuffer(ends, np.int64 if large else np.int32)
        places = places[value.offset : value.offset + len(value) + 1]
        yield np.diff(places)
        if data is not None:
            yield Raw(data[int(places[0]) : int(places[-1])])

    def variants(value: pa.Array) -> Iterator[object]:
        _, codes, *rest = value.buffers()  # `type_codes` and `offsets` are not those of a slice
        here = slice(value.offset, value.offset + len(value))
        codes = np.frombuffer(codes, np.int8)[here]
        yield codes
        dense = value.type.mode == "dense"
        places = np.frombuffer(rest[0], np.int32)[here] if dense else np.arange(len(value))
        for number, code in enumerate(value.type.type_codes):
            yield value.field(number).take(pa.array(places[codes == code]))

    @identify.register(pa.Scalar)
    def _scalar(value: pa.Scalar) -> Parts:
        if isinstance(value.type, pa.BaseExtensionType):
            return Parts("arrow scalar", [value.type, value.value])
        return Parts("arrow scalar", [pa.array([value], value.type)])

    @identify.register(pa.DataType)
    def _dtype(value: pa.DataType) -> Parts:
        about: list[object] = [str(value)]
        if isinstance(value, pa.BaseExtensionType):
            about += [value.extension_name, value.storage_type]
            about.append(
                value.__arrow_ext_serialize__()
                if hasattr(value, "__arrow_ext_serialize__")
                else None
            )
        elif types.is_dictionary(value):
            about += [value.value_type, value.ordered]
        elif types.is_run_end_encoded(value):
            about.append(value.value_type)
        about += [value.field(place) for place in range(value.num_fields)]
        return Parts("arrow type", about)

    @identify.register(pa.Schema)
    def _schema(value: pa.Schema) -> Parts:
        return Parts("arrow schema", [dict(value.metadata or {}), *value])

    @identify.register(pa.Field)
    def _field(value: pa.Field) -> Parts:
        return Parts(
            "arrow field", [value.name, value.type, value.nullable, dict(value.metadata or {})]
        )

    @identify.register(pa.Buffer)
    def _buffer(value: pa.Buffer) -> Parts:
        return Parts("arrow buffer", [Raw(value)])

    @identify.register(pa.RecordBatchReader)
    def _reader(value: object) -> Parts:
        raise Unidentifiable("a RecordBatchReader is used up as it is read: give the table")


@when_met("pyarrow._dataset")
def _datasets() -> None:
    """Arrow's datasets, which are declined: their files may change at any time."""
    from pyarrow import dataset

    @identify.register(dataset.Dataset)
    @identify.register(dataset.Scanner)
    @identify.register(dataset.Fragment)
    def _files(value: object) -> Parts:
        raise Unidentifiable(
            f"what the files of an Arrow {type(value).__name__} hold can change: give their paths "
            "as `File`, or the table"
        )
