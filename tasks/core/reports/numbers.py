"""Number formats of pages and sentences."""

import math

_MAX_BAR_WIDTH = 160


def number(value: float) -> str:
    """Format a number with three digits, with an exponent only where needed; NaN and infinity as signs."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{digits}e{int(exponent)}"


def percent(share: float) -> str:
    """Format a share of 0 to 1 in per cent; only exactly 0 and 1 are shown as 0 and 100 %."""
    text = f"{100 * share:.3g}"
    if text == "100" and share < 1:
        text = "> 99.9"
    return f"{text} %"


def bar_width(value: float) -> int:
    """Width of a value's bar in pixels, on a log scale of 20 per decade."""
    if not value < math.inf:
        return _MAX_BAR_WIDTH
    return min(max(round(20 * math.log10(value)), 1), _MAX_BAR_WIDTH) if value > 0 else 1
