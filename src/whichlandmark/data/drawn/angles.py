"""Sine and cosine that are the same to the last bit on every machine.

The C library's own differ in the last digit between processors (with and without fused
multiply-add); plain Python arithmetic does not.
"""

from __future__ import annotations

import math

# 1/3!, 1/5!, … with alternating signs: the Taylor series up to the 17th power, good to 1e-13.
_TERMS = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(9))


def sine(degrees: float) -> float:
    """The sine of an angle in degrees."""
    turn = degrees % 360.0
    if turn > 270.0:
        turn -= 360.0
    elif turn > 90.0:
        turn = 180.0 - turn
    angle = turn * (math.pi / 180.0)
    square = angle * angle
    total = 0.0
    for term in reversed(_TERMS):
        total = total * square + term
    return total * angle


def cosine(degrees: float) -> float:
    """The cosine of an angle in degrees."""
    return sine(degrees + 90.0)
