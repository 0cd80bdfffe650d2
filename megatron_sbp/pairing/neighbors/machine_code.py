"""Instructions of the processor that Python has no name for, for functions compiled by numba.

LLVM translates them for whatever processor it compiles for: where there is no such instruction, into several. After a
change here, remove the __pycache__ beside it: numba keeps compiled functions until their own file changes.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import TYPE_CHECKING

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numba.core.base import BaseContext
    from numba.core.typing.templates import Signature

LANES = 64
"""Scores that `above` compares at a time."""

type _Typed = tuple[Signature, Callable[..., ir.Value]]
"""What numba takes as an intrinsic: its types, and what writes its code."""

_BIT, _INT, _BYTES = ir.IntType(1), ir.IntType(32), ir.IntType(8).as_pointer()


@intrinsic
def half_to_float(typing_context: object, bits: object) -> _Typed:
    """The bits of a float16, uint16, as float32."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        if _converts_halves():
            return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())
        # LLVM would call a function that does not exist. The exponents are biased by 15 and by 127.
        bits = builder.zext(arguments[0], _INT)
        sign = builder.shl(builder.and_(bits, _INT(0x8000)), _INT(16))
        moved = builder.shl(builder.and_(bits, _INT(0x7FFF)), _INT(13))
        scaled = builder.fmul(builder.bitcast(moved, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**112))
        not_finite = builder.icmp_unsigned(">=", moved, _INT(0x7C00 << 13))
        size = builder.select(not_finite, builder.or_(moved, _INT(0x7F800000)), builder.bitcast(scaled, _INT))
        return builder.bitcast(builder.or_(size, sign), ir.FloatType())

    return types.float32(types.uint16), generate


def _converts_halves() -> bool:
    """Whether the processor has an instruction for it: all of Arm's, and Intel's and AMD's since 2013."""
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features().flatten()
    return "+f16c" in features or platform.machine() not in ("x86_64", "AMD64")


@intrinsic
def above(typing_context: object, scores: object, begin: object, threshold: object) -> _Typed:
    """Which of scores[begin : begin + LANES], float32, are above the threshold: uint64, the first in the lowest bit."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        place, limit = _place(context, builder, signature, arguments), arguments[2]
        vector, undefined = ir.VectorType(ir.FloatType(), LANES), ir.Undefined
        part = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
        first = builder.insert_element(ir.Constant(vector, undefined), limit, _INT(0))
        everywhere = ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES)
        limits = builder.shuffle_vector(first, ir.Constant(vector, undefined), everywhere)
        return builder.bitcast(builder.fcmp_ordered(">", part, limits), ir.IntType(LANES))

    return types.uint64(scores, types.intp, types.float32), generate


@intrinsic
def lowest_bit(typing_context: object, bits: object) -> _Typed:
    """Number of the lowest bit that is set in a uint64, which must not be 0."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        return builder.cttz(arguments[0], _BIT(1))

    return types.int64(types.uint64), generate


@intrinsic
def prefetch(typing_context: object, array: object, index: object) -> _Typed:
    """Asks for the cache line of array[index], of one dimension, which will be read soon."""

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        place = builder.bitcast(_place(context, builder, signature, arguments), _BYTES)
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _INT, _INT, _INT])
        function = builder.module.declare_intrinsic("llvm.prefetch", [_BYTES], kind)
        builder.call(function, [place, _INT(0), _INT(3), _INT(1)])  # to be read, kept in all caches, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _place(
    context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
) -> ir.Value:
    """Address of arguments[0][arguments[1]], a contiguous array of one dimension."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])
