"""Which key an X11 symbol means, on a US keyboard. Constant data (names of QKeyCode)."""

from __future__ import annotations

_PLAIN = {letter: letter for letter in "abcdefghijklmnopqrstuvwxyz0123456789"}
_PLAIN |= {
    " ": "spc",
    "-": "minus",
    "=": "equal",
    "[": "bracket_left",
    "]": "bracket_right",
    ";": "semicolon",
    "'": "apostrophe",
    "`": "grave_accent",
    "\\": "backslash",
    ",": "comma",
    ".": "dot",
    "/": "slash",
}
_SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', "1234567890-=[];'`\\,./", strict=True))
_NAMED_ROWS = """
    ff08 backspace ff09 tab ff0d ret ff13 pause ff14 scroll_lock ff15 sysrq ff1b esc ff50 home
    ff51 left ff52 up ff53 right ff54 down ff55 pgup ff56 pgdn ff57 end ff61 print ff63 insert
    ff67 menu ff7f num_lock ff8d kp_enter ffaa kp_multiply ffab kp_add ffad kp_subtract
    ffae kp_decimal ffaf kp_divide ffff delete ffe1 shift ffe2 shift_r ffe3 ctrl ffe4 ctrl_r
    ffe5 caps_lock ffe7 meta_l ffe8 meta_r ffe9 alt ffea alt_r ffeb meta_l ffec meta_r fe03 alt_r
"""
_WORDS = iter(_NAMED_ROWS.split())
_NAMED = {int(symbol, 16): name for symbol, name in zip(_WORDS, _WORDS, strict=True)}
_NAMED |= {0xFFBE + number: f"f{number + 1}" for number in range(12)}
_NAMED |= {0xFFB0 + number: f"kp_{number}" for number in range(10)}


def key_of(symbol: int) -> str | None:
    """The key that bears a symbol."""
    if symbol in _NAMED:
        return _NAMED[symbol]
    if 0x20 <= symbol < 0x7F:
        character = chr(symbol).lower()
        return _PLAIN.get(_SHIFTED.get(character, character))
    return None
